//! Streams that wait for memory, and other streams of the same connection.

use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, http, program, wait};

use super::{create, put_all, watch};

/// Number of unread streams: more than the budget has room for.
const STREAMS: usize = 1000;
const BUDGET: &str = "ETCD_MEMORY_BUDGET=67108864";
/// The stream window of the client, the same as that of gRPC for Go.
const WINDOW: u32 = 65_535;
const PATIENCE: Duration = Duration::from_secs(60);

/// A new watch is created even while many streams of its connection wait for memory.
#[test]
fn a_watch_is_created_while_other_streams_wait_for_memory() {
    let mut server = Server::new(&program::quorate(), &[]).with_launcher(&["env", BUDGET]);
    server.start();
    block_on(async {
        put_all(&server.url(), 4, 1000, 16 << 10).await;
        let connection = Connection::open_with_windows(&server.address(), WINDOW, 1 << 30).await;
        let mut calls = Vec::new();
        for _ in 0..STREAMS {
            calls.push(watch(&connection, create(|c| c.start_revision = 2)).await);
        }
        let address = server.address();
        let waits = move || {
            wait::until("streams that wait for room", PATIENCE, || {
                let waiting = http::metric(&address, "quorate_memory_waiting")?;
                (waiting > 0.0).then_some(())
            });
        };
        tokio::task::spawn_blocking(waits).await.unwrap();
        let mut call = watch(&connection, create(|c| c.watch_id = 7)).await;
        assert!(call.wait_for_messages(1).await, "{:?}", call.so_far());
        let said = pb::WatchResponse::decode(call.take_messages().remove(0)).unwrap();
        assert!(said.created && !said.canceled && said.watch_id == 7, "{said:?}");
        drop(calls);
    });
}
