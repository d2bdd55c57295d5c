//! Watches whose clients read late or never, or watch from far in the past.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod large;
mod paused;
mod shared;
mod unread;
mod waiting;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::{Call, Connection, frame};
use quorate_test_support::client::channel;
use tokio::task::JoinSet;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// How long a stream may be silent although messages are due.
const STANDSTILL: Duration = Duration::from_secs(30);

/// A framed request for a watch over all keys that start with `k`.
fn create(change: impl FnOnce(&mut pb::WatchCreateRequest)) -> Bytes {
    let mut create =
        pb::WatchCreateRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    change(&mut create);
    request(RequestUnion::CreateRequest(create))
}

fn request(union: RequestUnion) -> Bytes {
    frame(&pb::WatchRequest { request_union: Some(union) }.encode_to_vec())
}

/// Opens a stream and requests one watch.
async fn watch(connection: &Connection, create: Bytes) -> Call {
    connection.start(Connection::request(WATCH), create, false).await
}

/// Puts `count` values of `size` bytes with this many concurrent clients.
async fn put_all(url: &str, writers: usize, count: usize, size: usize) {
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let mut client = KvClient::new(channel(url));
        tasks.spawn(async move {
            for number in (writer..count).step_by(writers) {
                let key = format!("k/{number:06}").into();
                let value = vec![b'v'; size].into();
                let put = pb::PutRequest { key, value, ..Default::default() };
                client.put(put).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Reads from a stream until there were `count` events, each exactly once and in order.
async fn read_events(call: &mut Call, count: usize) {
    let mut events = 0;
    let mut last = 0;
    while events < count {
        let came = tokio::time::timeout(STANDSTILL, call.wait_for_messages(1)).await;
        let answer = call.so_far();
        assert_eq!(came, Ok(true), "{events} events of {count} came, and then nothing: {answer:?}");
        for message in call.take_messages() {
            let answer = pb::WatchResponse::decode(message).unwrap();
            assert!(!answer.canceled, "{answer:?}");
            for event in answer.events {
                let revision = event.kv.unwrap().mod_revision;
                assert!(revision > last, "{revision} comes after {last}");
                assert!(last == 0 || revision == last + 1, "{revision} comes after {last}");
                (events, last) = (events + 1, revision);
            }
        }
    }
}
