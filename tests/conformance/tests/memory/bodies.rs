//! Requests that come slowly.

use bytes::Bytes;
use quorate_test_conformance::raw::{Connection, frame_with};

use super::healthy::Healthy;
use super::{PUT, assert_bounded, fill, run, settle, start};

const CONNECTIONS: usize = 60;
const BODIES: usize = 50;
/// Keys that there are, and bytes of each.
const KEYS: usize = 6000;
const KEY_BYTES: usize = 10_000;
/// Connections with one each.
const ALONE: usize = 1000;
/// Bytes of a request, and how many of them do not come.
const LENGTH: usize = 2_000_000;
const MISSING: usize = 10;

/// Many large requests of which the last bytes do not come.
#[test]
fn slow() {
    attack(CONNECTIONS, BODIES, "slow bodies");
}

/// The same, each on a connection of its own.
#[test]
fn slow_over_many_connections() {
    attack(ALONE, 1, "slow bodies over many connections");
}

fn attack(connections: usize, bodies: usize, name: &str) {
    let server = start();
    run(fill(&server, KEYS, KEY_BYTES));
    let healthy = Healthy::start(&server);
    run(async {
        let message = vec![b'x'; LENGTH - MISSING];
        let body: Bytes = frame_with(0, LENGTH, &message);
        let (mut opened, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let connection = Connection::open(&server.address()).await;
            for _ in 0..bodies {
                let request = Connection::request(PUT);
                calls.push(connection.start(request, body.clone(), false).await);
            }
            opened.push(connection);
        }
        tokio::task::block_in_place(|| settle(&server));
        drop((calls, opened));
    });
    healthy.finish(name);
    assert_bounded(&server, name);
}
