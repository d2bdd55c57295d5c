//! Memory stays bounded when clients send much or read nothing, and other clients are served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abandoned;
mod bodies;
mod headers;
mod long_lists;
mod operations;
mod pages;
mod proposals;
mod revisions;
mod unread;
mod watchers;

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;
use quorate_test_support::{http, program, wait};

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const PUT: &str = "/etcdserverpb.KV/Put";
/// Limit of the server's resident memory, with the budget for 2 GiB.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The budget that the server chooses with 2 GiB of memory.
const BUDGET: &str = "ETCD_MEMORY_BUDGET=178956970";
/// How long a required change may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with the budget for 2 GiB.
fn start() -> Server {
    start_with(BUDGET)
}

/// A server with a setting of the budget, such as [`BUDGET`].
fn start_with(budget: &str) -> Server {
    let mut server = Server::new(&program::quorate(), &[]).with_launcher(&["env", budget]);
    server.start();
    server
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn run<T>(suite: impl Future<Output = T>) -> T {
    runtime().block_on(suite)
}

/// Puts `count` keys with values of `length` bytes.
async fn fill(server: &Server, count: usize, length: usize) {
    let connection = Connection::open(&server.address()).await;
    let per_txn = (1_000_000 / length).clamp(1, 100);
    let keys: Vec<usize> = (0..count).collect();
    for keys in keys.chunks(per_txn) {
        let puts = keys.iter().map(|key| pb::PutRequest {
            key: format!("key/{key:08}").into(),
            value: value(*key, length),
            ..Default::default()
        });
        let success =
            puts.map(|put| pb::RequestOp { request: Some(Request::RequestPut(put)) }).collect();
        let txn = pb::TxnRequest { success, ..Default::default() };
        connection.method(TXN, &[txn.encode_to_vec().into()]).await.assert_ok();
    }
}

/// A value that is different for each key.
fn value(key: usize, length: usize) -> Bytes {
    format!("{key:010}").into_bytes().repeat(length.div_ceil(10))[..length].to_vec().into()
}

/// A range over all keys.
fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: "key/".into(), range_end: "key0".into(), ..Default::default() }
}

/// Waits until the server's peak of memory has not grown for a second.
fn await_stable_memory(server: &Server) {
    let mut most = 0;
    let mut since = Instant::now();
    wait::until("the server's memory grows no more", PATIENCE, || {
        let now = server.usage().peak_memory;
        if now > most + (1 << 20) {
            (most, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
}

/// Asserts that the server stayed within its memory and has no request data left in it.
fn assert_bounded(server: &Server, attack: &str) {
    assert_within(MEMORY_BYTES_MAX, server, attack);
}

/// Asserts that the server stayed below `bytes_max` bytes and has no request data left in it.
fn assert_within(bytes_max: u64, server: &Server, attack: &str) {
    let most = server.usage().peak_memory;
    eprintln!("{attack}: at most {} MiB", most >> 20);
    assert!(most < bytes_max, "{attack}: the server used {} MiB", most >> 20);
    wait::until("nothing is in flight", PATIENCE, || {
        let bytes = http::metric(&server.address(), "quorate_memory_in_flight_bytes")?;
        (bytes < 1.0).then_some(())
    });
}
