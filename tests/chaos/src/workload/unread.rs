//! Connections that send many requests and read nothing.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Error, SendStream};
use http::Request;
use quorate_test_support::grpc;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Path of a range.
pub const RANGE: &str = "/etcdserverpb.KV/Range";
/// Path of a stream of watches.
pub const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// A connection that does not read responses: the member can send no more than the initial HTTP/2
/// windows. It ends when it is dropped.
#[derive(Debug)]
pub struct UnreadConnection {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), Error>>,
    /// Keeps the streams open.
    streams: Vec<(ResponseFuture, SendStream<Bytes>)>,
}

impl UnreadConnection {
    /// Connects to `address` (`host:port`); `None` when the connection is refused.
    pub async fn connect(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        let (sender, connection) = h2::client::handshake(stream).await.ok()?;
        let connection = Handle::current().spawn(connection);
        Some(Self { sender, connection, streams: Vec::new() })
    }

    /// Sends one encoded message on a new stream, which stays open. Returns false when the
    /// connection has ended.
    pub async fn ask(&mut self, path: &str, message: &[u8]) -> bool {
        let request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("it is well formed");
        let Ok(mut sender) = self.sender.clone().ready().await else { return false };
        let Ok((response, mut body)) = sender.send_request(request, false) else { return false };
        // The end of the stream would also end a watch.
        let is_last = path == RANGE;
        let is_sent = body.send_data(grpc::frame(message).into(), is_last).is_ok();
        self.streams.push((response, body));
        is_sent
    }
}

impl Drop for UnreadConnection {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
