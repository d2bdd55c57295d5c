//! One revision with very many events, for many watchers whose client does not read.

use std::io::Write as _;
use std::net::TcpStream;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::http2::{self, Call};
use quorate_test_support::server::Server;
use quorate_test_support::{http, wait};

use super::{PATIENCE, assert_within, await_stable_memory, fill, run, start_with};

const KEYS: usize = 100_000;
const WATCHERS: u16 = 100;
const BUDGET: &str = "ETCD_MEMORY_BUDGET=33554432";
/// Limit of the server's resident memory. The keys take about 100 MiB of it.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Opens streams with watchers of different ranges that all contain the keys. They are never read.
/// Returns once the watchers exist.
fn watch(server: &Server, streams: u16, start_revision: i64) -> TcpStream {
    let create = |number: u16| {
        let create = pb::WatchCreateRequest {
            key: "key/".into(),
            range_end: format!("key0{number}").into(),
            start_revision,
            ..Default::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(create));
        frame(&pb::WatchRequest { request_union }.encode_to_vec())
    };
    let calls = (0..streams).flat_map(|stream| {
        let numbers = (stream..WATCHERS).step_by(streams.into());
        let body: Vec<u8> = numbers.flat_map(create).collect();
        let path = "/etcdserverpb.Watch/Watch";
        Call { path, metadata: &[], body: &body, is_ended: false }.bytes(stream.into())
    });
    let bytes: Vec<u8> = http2::greeting().into_iter().chain(calls).collect();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&bytes).unwrap();
    wait::until("the watchers exist", PATIENCE, || {
        let watchers = http::metric(&server.address(), "etcd_debugging_mvcc_watcher_total")?;
        (watchers >= f64::from(WATCHERS)).then_some(())
    });
    stream
}

/// Deletes all keys in one revision, and returns it.
async fn delete_all(server: &Server) -> i64 {
    let connection = Connection::open(&server.address()).await;
    let delete = pb::DeleteRangeRequest {
        key: "key/".into(),
        range_end: "key0".into(),
        ..Default::default()
    };
    let path = "/etcdserverpb.KV/DeleteRange";
    let answer = connection.method(path, &[delete.encode_to_vec().into()]).await;
    answer.assert_ok();
    let answer: pb::DeleteRangeResponse = answer.decode();
    assert_eq!(usize::try_from(answer.deleted), Ok(KEYS));
    answer.header.unwrap().revision
}

/// Opens the watchers before the deletion if `is_live`, and otherwise after it.
fn is_survived(attack: &str, is_live: bool) {
    let server = start_with(BUDGET);
    run(fill(&server, KEYS, 10));
    let live = is_live.then(|| watch(&server, 1, 0));
    let revision = run(delete_all(&server));
    let healthy = HealthyClient::start(&server);
    // Streams that wait for their turns have many watchers by then.
    let late = (!is_live).then(|| watch(&server, 10, revision));
    await_stable_memory(&server);
    healthy.finish(attack);
    drop((live, late));
    assert_within(MEMORY_BYTES_MAX, &server, attack);
}

#[test]
fn a_revision_of_many_events_uses_bounded_memory() {
    is_survived("a large revision", true);
}

#[test]
fn many_events_of_a_past_revision_use_bounded_memory() {
    is_survived("a large revision of the past", false);
}
