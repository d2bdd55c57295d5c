//! Requests whose bodies arrive slowly.

use bytes::Bytes;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Connection, frame_with};

use super::{PUT, assert_bounded, await_stable_memory, fill, run, start};

const CONNECTIONS: usize = 60;
const BODIES: usize = 50;
/// Number of keys in the store, and size of their values.
const KEYS: usize = 6000;
const KEY_BYTES: usize = 10_000;
/// Connections with one request each.
const ALONE: usize = 1000;
/// Size of a request, and its number of missing bytes.
const LENGTH: usize = 2_000_000;
const MISSING: usize = 10;

/// Many large requests whose last bytes never arrive.
#[test]
fn slow_bodies_use_bounded_memory() {
    attack(CONNECTIONS, BODIES, "slow bodies");
}

/// The same, with a connection for each.
#[test]
fn slow_bodies_over_many_connections_use_bounded_memory() {
    attack(ALONE, 1, "slow bodies over many connections");
}

fn attack(connections: usize, bodies: usize, name: &str) {
    let server = start();
    run(fill(&server, KEYS, KEY_BYTES));
    let healthy = HealthyClient::start(&server);
    run(async {
        let message = vec![b'x'; LENGTH - MISSING];
        let body: Bytes = frame_with(0, LENGTH, &message);
        let mut opened = Vec::new();
        let mut calls = Vec::new();
        for _ in 0..connections {
            let connection = Connection::open(&server.address()).await;
            for _ in 0..bodies {
                let request = Connection::request(PUT);
                calls.push(connection.start(request, body.clone(), false).await);
            }
            opened.push(connection);
        }
        tokio::task::block_in_place(|| await_stable_memory(&server));
        drop((calls, opened));
    });
    healthy.finish(name);
    assert_bounded(&server, name);
}
