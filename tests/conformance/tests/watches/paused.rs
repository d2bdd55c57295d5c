//! A client that pauses receives all events once it reads on.

use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

use super::{create, put_all, read_events, watch};

/// More messages than the server keeps per stream, but far fewer bytes.
const EVENTS: usize = 20_000;

#[test]
fn a_paused_client_receives_every_event() {
    let server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        // The same windows as those of gRPC for Go.
        let connection = Connection::open_with_windows(&server.address(), 65_535, 65_535).await;
        let mut call = watch(&connection, create(|_| {})).await;
        assert!(call.wait_for_messages(1).await);
        put_all(&server.url(), 8, EVENTS, 10).await;
        read_events(&mut call, EVENTS).await;
    });
}
