//! Requests with large headers.

use bytes::Bytes;
use http::HeaderValue;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::Connection;

use super::{PUT, assert_bounded, await_stable_memory, run, start};

const CONNECTIONS: usize = 20;
const REQUESTS: usize = 1000;
/// Size of each request's headers, close to the limit.
const LENGTH: usize = 60_000;

/// Many requests whose bodies never arrive.
#[test]
fn large_headers_use_bounded_memory() {
    let server = start();
    let healthy = HealthyClient::start(&server);
    run(async {
        let value = HeaderValue::from_maybe_shared(Bytes::from(vec![b'x'; LENGTH])).unwrap();
        let mut connections = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(&server.address()).await;
            for _ in 0..REQUESTS {
                let mut request = Connection::request(PUT);
                request.headers_mut().insert("large", value.clone());
                calls.push(connection.start(request, Bytes::new(), false).await);
            }
            connections.push(connection);
        }
        tokio::task::block_in_place(|| await_stable_memory(&server));
        drop((calls, connections));
    });
    healthy.finish("large headers");
    assert_bounded(&server, "large headers");
}
