//! Answers that clients do not read.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::frame;
use quorate_test_support::http2::{self, Call};
use quorate_test_support::server::Server;

use super::{RANGE, TXN, assert_bounded, await_stable_memory, everything, fill, run, start};

const ANSWERS: u32 = 100;
/// Requests for answers without data, and for pages.
const ERRORS: u32 = 1_000_000;
const PAGES: u32 = 20_000;
/// A server that has read nothing for this long will read nothing more.
const UNREAD: Duration = Duration::from_secs(2);

/// Makes the same call many times on a connection that is never read, although its flow-control
/// windows are as large as possible.
fn ask(server: &Server, path: &str, message: &[u8]) -> TcpStream {
    let call = Call { path, metadata: &[], body: &frame(message), is_ended: true };
    let mut bytes = http2::greeting();
    bytes.extend((0..ANSWERS).flat_map(|number| call.bytes(number)));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(&bytes).unwrap();
    stream
}

fn is_survived(attack: &str, path: &str, message: &[u8]) {
    let server = start();
    run(fill(&server, 60, 1_000_000));
    let healthy = HealthyClient::start(&server);
    let connection = ask(&server, path, message);
    await_stable_memory(&server);
    healthy.finish(attack);
    drop(connection);
    assert_bounded(&server, attack);
}

/// Sends requests without reading answers, until the server stops reading or all are sent.
fn flood(attack: &str, count: u32, request: impl Fn(u32) -> Vec<u8>) {
    let server = start();
    let healthy = HealthyClient::start(&server);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(Some(UNREAD)).unwrap();
    stream.write_all(&http2::greeting()).unwrap();
    let batch = |first: u32| (first..first + 100).flat_map(&request).collect::<Vec<u8>>();
    let all_sent = (0..count).step_by(100).all(|first| stream.write_all(&batch(first)).is_ok());
    eprintln!("{attack}: all sent: {all_sent}");
    await_stable_memory(&server);
    healthy.finish(attack);
    drop(stream);
    assert_bounded(&server, attack);
}

/// Answers that have only headers.
#[test]
fn errors() {
    flood("errors not read", ERRORS, |number| {
        let path = "/etcdserverpb.KV/Unknown";
        Call { path, metadata: &[], body: &frame(&[]), is_ended: true }.bytes(number)
    });
}

#[test]
fn pages() {
    flood("pages not read", PAGES, |number| http2::get("/metrics", number));
}

#[test]
fn unread_lists_use_bounded_memory() {
    is_survived("lists not read", RANGE, &everything().encode_to_vec());
}

#[test]
fn unread_sorted_lists_use_bounded_memory() {
    let list = pb::RangeRequest {
        sort_order: SortOrder::Descend as i32,
        sort_target: SortTarget::Key as i32,
        ..everything()
    };
    is_survived("sorted lists not read", RANGE, &list.encode_to_vec());
}

#[test]
fn unread_range_streams_use_bounded_memory() {
    let list = everything().encode_to_vec();
    is_survived("streamed lists not read", "/etcdserverpb.KV/RangeStream", &list);
}

#[test]
fn unread_transactions_use_bounded_memory() {
    let list = pb::RequestOp { request: Some(Request::RequestRange(everything())) };
    let txn = pb::TxnRequest { success: vec![list], ..Default::default() };
    is_survived("transactions not read", TXN, &txn.encode_to_vec());
}

/// Transactions that write and answer with all keys.
#[test]
fn unread_writes_use_bounded_memory() {
    let put = pb::PutRequest { key: "other".into(), value: "v".into(), ..Default::default() };
    let requests = [Request::RequestPut(put), Request::RequestRange(everything())];
    let success = requests.map(|request| pb::RequestOp { request: Some(request) }).into();
    let txn = pb::TxnRequest { success, ..Default::default() };
    is_survived("transactions with writes not read", TXN, &txn.encode_to_vec());
}

/// Puts that answer with large previous values.
#[test]
fn unread_previous_values_use_bounded_memory() {
    let puts = (0..60).map(|number| pb::PutRequest {
        key: format!("key/{number:08}").into(),
        prev_kv: true,
        ignore_value: true,
        ..Default::default()
    });
    let ops = puts.map(|put| pb::RequestOp { request: Some(Request::RequestPut(put)) });
    let txn = pb::TxnRequest { success: ops.collect(), ..Default::default() };
    is_survived("previous values not read", TXN, &txn.encode_to_vec());
}
