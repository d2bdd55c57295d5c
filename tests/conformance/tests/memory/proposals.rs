//! Writes whose clients give up while the disk is slow. They are still queued, and still count.

use std::time::{Duration, Instant};

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::require;
use quorate_test_support::slow_disk::{NEEDS, SlowDisk};
use tokio::task::JoinSet;

use super::{PUT, assert_bounded, fill, run, start, value};

const CLIENTS: usize = 16;
const ATTACK: Duration = Duration::from_secs(8);
/// Delay of every disk write.
const SLOW: Duration = Duration::from_millis(300);

/// Puts a large value again and again, each time with a short timeout.
async fn put_impatiently(address: String, client: usize) {
    let connection = Connection::open(&address).await;
    let begun = Instant::now();
    let put = pb::PutRequest {
        key: format!("abandoned/{client}").into(),
        value: value(client, 1_000_000),
        ..Default::default()
    };
    let put = frame(&put.encode_to_vec());
    while begun.elapsed() < ATTACK {
        let mut request = Connection::request(PUT);
        request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        connection.call(request, put.clone()).await;
    }
}

#[test]
fn puts() {
    if !require::met("puts given up on a slow disk", &NEEDS) {
        return;
    }
    let server = start();
    run(async {
        fill(&server, 60, 1_000_000).await;
        let slow = SlowDisk::of(server.pid(), SLOW);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(put_impatiently(server.address(), client));
        }
        clients.join_all().await;
        drop(slow);
    });
    assert_bounded(&server, "puts given up on a slow disk");
}
