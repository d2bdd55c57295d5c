//! Pages that clients do not read.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_support::http2;

use super::{assert_within, await_stable_memory, start_with};

const CONNECTIONS: u32 = 3;
/// Requests of each connection.
const REQUESTS: u32 = 6000;
const BUDGET: &str = "ETCD_MEMORY_BUDGET=33554432";
/// Limit of the server's resident memory.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// A server that has read nothing for this long will read nothing more.
const UNREAD: Duration = Duration::from_secs(2);

/// Requests that wait for memory hold no page.
fn are_survived(attack: &str, path: &str) {
    let server = start_with(BUDGET);
    let healthy = HealthyClient::start(&server);
    let connections: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let requests = (0..REQUESTS).flat_map(|number| http2::get(path, number));
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_write_timeout(Some(UNREAD)).unwrap();
            let bytes: Vec<u8> = http2::greeting().into_iter().chain(requests).collect();
            // The server may stop reading before the end.
            stream.write_all(&bytes).ok();
            stream
        })
        .collect();
    await_stable_memory(&server);
    healthy.finish(attack);
    drop(connections);
    assert_within(MEMORY_BYTES_MAX, &server, attack);
}

#[test]
fn of_metrics_use_bounded_memory() {
    are_survived("metrics not read on several connections", "/metrics");
}
