//! Members that have gone without closing their connections.

use std::io::{ErrorKind, Read as _, Write as _};

use quorate_test_support::http2::{self, kind};
use quorate_test_support::program;
use quorate_test_support::server::Server;

use crate::{PATIENCE, connect, read_frame};

/// A connection to the port for members whose other end answers no ping is closed. A member that
/// is cut off leaves such connections, and the system would keep them for minutes.
#[test]
fn a_silent_member_loses_its_connection() {
    let server = Server::start_new(&program::quorate(), &[]);
    let mut stream = connect(&server.peer_address());
    stream.write_all(&http2::connection(&[])).unwrap();
    let mut pings = 0;
    while let Some((kind, ..)) = read_frame(&mut stream) {
        pings += usize::from(kind == kind::PING);
    }
    let end = stream.read(&mut [0]).map_err(|error| error.kind());
    let is_closed = matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset));
    assert!(is_closed, "{end:?} after {PATIENCE:?}");
    assert_eq!(pings, 1);
}
