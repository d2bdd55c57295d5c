//! Many watches that start in the past cost little memory and few threads, and do not keep the
//! server from answering other clients.

use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Call, Connection};
use quorate_test_support::server::Server;
use quorate_test_support::usage::Usage;
use quorate_test_support::{block_on, program};
use tokio::task::JoinSet;

use super::{create, put_all, read_events, watch};

/// Total size of all values.
const DATA: usize = 60 << 20;
/// Limit of the server's resident memory.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// The budget that the server chooses with 2 GiB of memory.
const BUDGET: &str = "ETCD_MEMORY_BUDGET=178956970";
/// Limit of the server's threads: tokio alone would start up to 512 threads for blocking work.
const THREADS_MAX: usize = 64;
/// Revision of the first value.
const FIRST: i64 = 2;
/// The stream window of the client: the same as the window of gRPC for Go.
const WINDOW: u32 = 65_535;

fn assert_small(server: &Server, what: &str) {
    let Usage { peak_memory: memory, threads, .. } = server.usage();
    eprintln!("{what}: {} MiB, {threads} threads", memory >> 20);
    assert!(memory < MEMORY_BYTES_MAX, "{what}: the server used {memory} bytes");
    assert!(threads < THREADS_MAX, "{what}: the server has {threads} threads");
}

/// Opens streams with `watches` watches each, and waits until each stream has received its first
/// messages. After that, nothing reads from the streams.
async fn stall(server: &Server, connections: usize, streams: usize, watches: usize) -> Stalled {
    let mut stalled = Stalled(Vec::new());
    for number in 0..connections {
        let connection = Connection::open_with_windows(&server.address(), WINDOW, 1 << 30).await;
        let mut calls = Vec::new();
        for stream in 0..streams {
            // Some watches are equal. Others differ in their start, end of range or `prev_kv`.
            let start = FIRST + i64::try_from((number * streams + stream) % 50).unwrap();
            let one = |watch: usize| {
                create(|c| {
                    c.start_revision = start;
                    c.prev_kv = watch % 2 == 1;
                    c.range_end = format!("l{}", (stream + watch) % 7).into();
                })
            };
            let mut call = self::watch(&connection, one(0)).await;
            (1..watches).for_each(|watch| call.send(one(watch), false));
            calls.push(call);
        }
        stalled.0.push((connection, calls));
    }
    let mut begun = JoinSet::new();
    for (connection, calls) in std::mem::take(&mut stalled.0) {
        begun.spawn(async move {
            let mut calls = calls;
            for call in &mut calls {
                assert!(call.wait_for_messages(watches + 1).await, "{:?}", call.so_far());
            }
            (connection, calls)
        });
    }
    while let Some(done) = begun.join_next().await {
        stalled.0.push(done.unwrap());
    }
    stalled
}

/// Streams from which nothing reads.
struct Stalled(Vec<(Connection, Vec<Call>)>);

/// Runs one attack against a server with values of `size` bytes.
fn costs_little(what: &str, size: usize, [connections, streams, watches]: [usize; 3]) {
    let mut server = Server::new(&program::quorate(), &[]).with_launcher(&["env", BUDGET]);
    server.start();
    block_on(async {
        put_all(&server.url(), 4, DATA / size, size).await;
        let healthy = HealthyClient::start(&server);
        let stalled = stall(&server, connections, streams, watches).await;
        assert_small(&server, what);
        // Meanwhile, a watch that is read gets all events.
        let connection = Connection::open_with_windows(&server.address(), WINDOW, 1 << 20).await;
        let mut call = watch(&connection, create(|c| c.start_revision = FIRST)).await;
        read_events(&mut call, DATA / size).await;
        assert_small(&server, what);
        healthy.finish(what);
        drop(stalled);
    });
    server.stop();
    assert_eq!(server.panic_line(), None);
}

#[test]
fn many_unread_streams_use_bounded_memory() {
    costs_little("900 streams", 16 << 10, [30, 30, 1]);
}

#[test]
fn many_connections_with_unread_streams_use_bounded_memory() {
    costs_little("1,000 streams over 50 connections", 10 << 10, [50, 20, 1]);
}

#[test]
fn many_watches_on_an_unread_stream_use_bounded_memory() {
    costs_little("300 watches on a stream", 16 << 10, [1, 1, 300]);
}

#[test]
fn unread_large_values_use_bounded_memory() {
    costs_little("large values", 1 << 20, [4, 1, 1]);
}
