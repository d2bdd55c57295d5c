//! Web sockets: another form of the gateway's requests, for web pages.
//!
//! As in etcd, every path of the gateway accepts web sockets. A socket carries one request. The
//! messages of the client, text or binary, are the lines of its body, and each line of the answer
//! is a message. As in etcd, the answer ends the connection without a close frame, so that a client
//! that opens broken connections again does so after this end, too.
//!
//! ```text
//!   socket --> reader --> the body of the request --> the call
//!     ^          | pongs, close frames                   |
//!     +------ writer <------------ the answer -----------+
//! ```
//!
//! A message is not collected: its bytes go to the body as they arrive, which charges them, so any
//! length is safe. That is why only the headers of frames are read by the library, which would hold
//! whole messages.

mod frames;
pub(crate) mod handshake;
mod reader;
mod writer;

use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use self::writer::Writer;
use super::Answer;

/// Time limit for the end of a connection: for an answer to the client's close frame, and for the
/// client to close its side after the answer. As in etcd for the first.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Answers the request that a web socket carries, until one side ends it. `call` answers a request
/// with the given body; it is dropped when the client is gone. After `stop`, nothing more is read,
/// so a client that goes on sending delays no stop.
pub(crate) async fn serve<I, F, C>(io: I, stop: &CancellationToken, call: F)
where
    I: AsyncRead + AsyncWrite,
    F: FnOnce(StreamBody<Data>) -> C,
    C: Future<Output = Answer>,
{
    let (input, output) = tokio::io::split(io);
    let (sender, data) = mpsc::channel(1);
    let (ordered, orders) = mpsc::channel(1);
    let mut read = pin!(reader::read(input, sender, ordered));
    let mut reading = pin!(async {
        if stop.run_until_cancelled(&mut read).await.is_none() {
            pending::<()>().await;
        }
    });
    let mut writing = pin!(Writer::new(output, orders).write(call(body(data))));
    let is_answered = tokio::select! {
        _ = &mut writing => true,
        () = &mut reading => false,
    };
    // The result does not matter: what comes next is the end of the connection.
    if is_answered {
        // A connection that is closed with unread bytes can lose the end of the answer.
        stop.run_until_cancelled(timeout(END_WITHIN, reading)).await;
    } else {
        timeout(END_WITHIN, writing).await.ok();
    }
}

/// The data of the body.
type Data = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// The body of the request with these data.
fn body(data: mpsc::Receiver<Bytes>) -> StreamBody<Data> {
    StreamBody::new(Box::pin(ReceiverStream::new(data).map(|data| Ok(Frame::data(data)))))
}
