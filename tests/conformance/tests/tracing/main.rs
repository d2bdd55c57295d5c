//! Distributed tracing: the spans that a collector receives, compared with etcd's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod collector;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request as Operation;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, port, program, wait};

use self::collector::{Collector, Received};

/// Spans are sent every five seconds, and at the end of the process.
const SENT_WITHIN: Duration = Duration::from_secs(30);
/// The trace of the client.
const TRACE: [u8; 16] = [0xab; 16];
const TTL: i64 = 600;

/// A server that sends its spans to `collector`, at this rate per million.
fn traced(program: &Path, collector: &str, rate: u32) -> Server {
    let address = format!("--distributed-tracing-address={collector}");
    let rate = format!("--distributed-tracing-sampling-rate={rate}");
    let flags = [
        "--enable-distributed-tracing",
        &address,
        &rate,
        "--distributed-tracing-service-name=store",
        "--distributed-tracing-instance-id=first",
    ];
    Server::start_new(program, &flags)
}

/// The header of a call whose parent is the span with this number.
fn parent(number: u8, is_sampled: bool) -> String {
    let trace: String = TRACE.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("00-{trace}-00000000000000{number:02x}-{:02x}", u8::from(is_sampled))
}

/// A call that is traced: its path, and its message.
fn call(path: &'static str, message: &impl Message) -> (&'static str, Bytes) {
    (path, message.encode_to_vec().into())
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), limit: 3, ..Default::default() }
}

/// Calls of each kind of operation, good and bad ones.
fn calls() -> Vec<(&'static str, Bytes)> {
    let put = pb::PutRequest { key: "a/1".into(), value: "x".into(), ..Default::default() };
    let on_lease = pb::PutRequest { lease: 99, ..put.clone() };
    let compare = pb::Compare { key: "a/1".into(), ..Default::default() };
    let operation = |operation| pb::RequestOp { request: Some(operation) };
    let read = operation(Operation::RequestRange(range("a/", "a0")));
    let write = operation(Operation::RequestPut(put.clone()));
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![write, read.clone()],
        failure: vec![read.clone()],
    };
    let read_txn = pb::TxnRequest { compare: Vec::new(), success: vec![read], failure: Vec::new() };
    let delete =
        pb::DeleteRangeRequest { key: "a/".into(), range_end: "a0".into(), prev_kv: false };
    vec![
        call("/etcdserverpb.KV/Put", &put),
        call("/etcdserverpb.KV/Put", &on_lease),
        call("/etcdserverpb.KV/Range", &range("a/", "a0")),
        call("/etcdserverpb.KV/Range", &pb::RangeRequest { revision: 999, ..range("a", "") }),
        call("/etcdserverpb.KV/RangeStream", &range("a/", "a0")),
        call("/etcdserverpb.KV/Txn", &txn),
        call("/etcdserverpb.KV/Txn", &read_txn),
        call("/etcdserverpb.KV/DeleteRange", &delete),
        call("/etcdserverpb.KV/Compact", &pb::CompactionRequest { revision: 2, physical: true }),
        call("/etcdserverpb.KV/Compact", &pb::CompactionRequest { revision: 99, physical: false }),
        call("/etcdserverpb.Lease/LeaseGrant", &pb::LeaseGrantRequest { id: 7, ttl: TTL }),
        call("/etcdserverpb.Lease/LeaseKeepAlive", &pb::LeaseKeepAliveRequest { id: 7 }),
        call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: 7 }),
        call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: 8 }),
        call("/etcdserverpb.Cluster/MemberList", &pb::MemberListRequest { linearizable: true }),
        call("/etcdserverpb.Auth/UserGet", &pb::AuthUserGetRequest { name: "none".into() }),
    ]
}

/// Makes all calls, one after the other, and a watch, each with a parent of its own. Returns the
/// number of calls.
async fn make_calls(server: &Server) -> usize {
    let connection = Connection::open(&server.address()).await;
    let request = |number: usize, path: &str| {
        let mut request = Connection::request(path);
        let value = parent(u8::try_from(number).unwrap() + 1, true).parse().unwrap();
        request.headers_mut().insert("traceparent", value);
        request
    };
    let calls = calls();
    for (number, (path, message)) in calls.iter().enumerate() {
        connection.call(request(number, path), frame(message)).await;
    }
    let create = pb::WatchCreateRequest {
        key: "a".into(),
        range_end: Bytes::from_static(&[0]),
        start_revision: 3,
        progress_notify: true,
        ..Default::default()
    };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let watch = request(calls.len(), "/etcdserverpb.Watch/Watch");
    let mut watch = connection.start(watch, frame(&create.encode_to_vec()), true).await;
    assert!(watch.wait_for_messages(1).await, "{:?}", watch.so_far());
    calls.len() + 1
}

/// A span without what differs from run to run, and those within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    resource: BTreeMap<String, String>,
    scope: String,
    name: String,
    kind: i32,
    status: (i32, String),
    attributes: BTreeMap<String, String>,
    within: Vec<Self>,
}

/// The spans with this parent.
fn tree(spans: &[Received], parent: &[u8]) -> Vec<Span> {
    let children = spans.iter().filter(|span| span.trace == TRACE && span.parent == parent);
    let mut found: Vec<Span> = children
        .map(|span| {
            let mut attributes = span.attributes.clone();
            // Quorate does not name its own address, which the resource identifies.
            attributes.retain(|name, _| !name.starts_with("server."));
            Span {
                resource: span.resource.clone(),
                scope: span.scope.clone(),
                name: span.name.clone(),
                kind: span.kind,
                status: span.status.clone(),
                attributes,
                within: tree(spans, &span.id),
            }
        })
        .collect();
    found.sort();
    found
}

fn spans_of(program: &Path) -> Vec<Vec<Span>> {
    let collector = Collector::start();
    let mut server = traced(program, &collector.address, 0);
    let count = block_on(make_calls(&server));
    server.stop();
    let trees = || -> Vec<_> {
        let spans = collector.spans();
        (1..=count).map(|number| tree(&spans, &(number as u64).to_be_bytes())).collect()
    };
    let are_there = || trees().iter().all(|tree| !tree.is_empty()).then_some(());
    let came = wait::within(SENT_WITHIN, are_there);
    assert!(came.is_some(), "spans are missing: {:#?}\n{}", trees(), server.log_tail());
    trees()
}

#[test]
fn the_spans_of_calls_are_those_of_etcd() {
    let Some(etcd) = program::etcd("distributed tracing", "etcd-3.7") else { return };
    let ours = spans_of(&program::quorate());
    let theirs = spans_of(&etcd);
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "call {number}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Puts a key in a call with this `traceparent`.
async fn put(server: &Server, key: &'static str, parent: Option<String>) {
    let connection = Connection::open(&server.address()).await;
    let mut request = Connection::request("/etcdserverpb.KV/Put");
    if let Some(parent) = parent {
        request.headers_mut().insert("traceparent", parent.parse().unwrap());
    }
    let put = pb::PutRequest { key: key.into(), ..Default::default() };
    connection.call(request, frame(&put.encode_to_vec())).await.assert_ok();
}

/// The keys of the puts that were traced, in order, with whether their trace is the client's.
fn traced_puts(rate: u32) -> Vec<(String, bool)> {
    let collector = Collector::start();
    let mut server = traced(&program::quorate(), &collector.address, rate);
    block_on(async {
        put(&server, "alone", None).await;
        put(&server, "unsampled", Some(parent(1, false))).await;
        put(&server, "malformed", Some("00-1-2-01".to_owned())).await;
        put(&server, "sampled", Some(parent(2, true))).await;
    });
    server.stop();
    let puts = || -> Vec<_> {
        let spans = collector.spans();
        let puts = spans.iter().filter(|span| span.name == "put");
        puts.map(|put| (put.attributes["key"].clone(), put.trace == TRACE)).collect()
    };
    wait::until("the last put is sent", SENT_WITHIN, || {
        puts().iter().any(|(key, _)| key.contains("\"sampled\"")).then(puts)
    })
}

#[test]
fn the_client_or_the_rate_decides_which_calls_are_traced() {
    let shown = |rate| -> Vec<(bool, bool, bool)> {
        let puts = traced_puts(rate);
        let has = |key: &str, of_client| {
            puts.contains(&(format!("Some(StringValue(\"{key}\"))"), of_client))
        };
        vec![
            (has("sampled", true), has("unsampled", true), has("unsampled", false)),
            (has("alone", false), has("malformed", false), puts.len() > 3),
        ]
    };
    assert_eq!(shown(0), [(true, false, false), (false, false, false)]);
    assert_eq!(shown(1_000_000), [(true, false, false), (true, true, false)]);
}

#[test]
fn calls_do_not_need_the_collector() {
    let [port] = port::free();
    let mut server = traced(&program::quorate(), &format!("127.0.0.1:{port}"), 1_000_000);
    block_on(async {
        put(&server, "a", None).await;
    });
    server.stop();
    assert!(server.log().contains("BatchSpanProcessor"), "{}", server.log_tail());
}
