//! Requests that come slowly.

use bytes::Bytes;
use quorate_test_conformance::raw::{Connection, frame_with};

use super::healthy::Healthy;
use super::{PUT, assert_bounded, run, settle, start};

const CONNECTIONS: usize = 60;
const BODIES: usize = 50;
/// Bytes of a request, and how many of them do not come.
const LENGTH: usize = 2_000_000;
const MISSING: usize = 10;

/// Many large requests of which the last bytes do not come.
#[test]
fn slow() {
    let server = start();
    let healthy = Healthy::start(&server);
    run(async {
        let message = vec![b'x'; LENGTH - MISSING];
        let body: Bytes = frame_with(0, LENGTH, &message);
        let (mut connections, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(&server.address()).await;
            for _ in 0..BODIES {
                let request = Connection::request(PUT);
                calls.push(connection.start(request, body.clone(), false).await);
            }
            connections.push(connection);
        }
        tokio::task::block_in_place(|| settle(&server));
        drop((calls, connections));
    });
    healthy.finish("slow bodies");
    assert_bounded(&server, "slow bodies");
}
