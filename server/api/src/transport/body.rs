//! The body of a request. It checks the gRPC frames, charges the bytes to the memory budget, and
//! limits the time in which a request must arrive.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use quorate_proto::etcdserverpb::RequestOp;
use quorate_proto::nesting;
use quorate_raft::{Exhausted, float};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::charge::Held;
use super::framing::{Frames, HEAD_LEN, Rules};
use crate::error::ApiError;
use crate::memory::REQUEST_BYTES;
use crate::method::MethodKind;
use crate::server::Server;

/// Time limit for a request to arrive completely. Without it, a request that arrives slowly would
/// occupy its connection's share of the memory budget for ever.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(60);

/// Memory of a decoded operation of a transaction: while the answer is measured, there may be two
/// copies of the request.
const OPERATION_BYTES: usize = 2 * size_of::<RequestOp>();
/// Bytes of the shortest operation on the wire.
const OPERATION_WIRE_BYTES: usize = 2;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Data that wait for memory.
struct Uncharged {
    data: Bytes,
    room: Pin<Box<dyn Future<Output = Result<(), Exhausted>> + Send>>,
}

/// The body of a request. It checks the frames and charges the bytes to the memory budget.
pub(crate) struct Checked<B> {
    inner: B,
    server: Server,
    frames: Frames,
    /// The permit that the bytes are charged to.
    held: Held,
    /// The pieces of a transaction, which are passed on together once its operations are charged.
    pieces: Vec<Bytes>,
    /// Bytes that can still arrive without a charge, because the permit of the call includes them.
    free: usize,
    uncharged: Option<Uncharged>,
    /// The deadline for the request to arrive. It is set when the body begins to wait for bytes.
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<B> Checked<B> {
    pub(crate) fn new(inner: B, server: Server, rules: Rules, held: Held) -> Self {
        let frames = Frames::new(rules);
        let free = REQUEST_BYTES;
        Self {
            inner,
            server,
            frames,
            held,
            pieces: Vec::new(),
            free,
            uncharged: None,
            deadline: None,
            ended: false,
        }
    }

    /// Charges `bytes` for received data. Returns the data if there is room; otherwise they wait in
    /// `uncharged`.
    fn charge(&mut self, data: Bytes, bytes: usize) -> Option<Bytes> {
        let beyond = bytes.saturating_sub(self.free);
        self.free = self.free.saturating_sub(bytes);
        if beyond == 0 || self.held.try_grow(beyond) {
            return Some(data);
        }
        let room = Box::pin(self.held.clone().grow(beyond));
        self.uncharged = Some(Uncharged { data, room });
        None
    }

    /// Takes charged data and returns data to pass on, if any. Those of a transaction are passed on
    /// when all of them have arrived and there is room for the decoded operations, which may need
    /// fifty times the bytes.
    fn collect(&mut self, data: Bytes) -> Option<Bytes> {
        if !self.frames.rules.is_txn {
            return Some(data);
        }
        self.pieces.push(data);
        if self.frames.messages == 0 {
            return None;
        }
        self.frames.rules.is_txn = false;
        let whole = match self.pieces.as_mut_slice() {
            [whole] => std::mem::take(whole),
            pieces => pieces.concat().into(),
        };
        self.pieces = Vec::new();
        let operations = match self.frames.unpacked {
            // A malformed message is refused before it is decoded.
            0 => nesting::operations(whole.get(HEAD_LEN..).unwrap_or_default()).unwrap_or(0),
            unpacked => unpacked / OPERATION_WIRE_BYTES,
        };
        self.charge(whole, operations.saturating_mul(OPERATION_BYTES))
    }

    /// Ready when the request takes too long to arrive. A stream may be idle between messages, but
    /// a message that has begun must arrive in time.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_there = match self.frames.rules.kind {
            MethodKind::BidiStream => self.frames.is_between(),
            MethodKind::Unary | MethodKind::ServerStream => self.frames.messages > 0,
        };
        if is_there {
            self.deadline = None;
            return Poll::Pending;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(REQUEST_WITHIN)));
        deadline.as_mut().poll(context)
    }

    /// Releases the memory of the messages that have been passed on. Does so only between the
    /// messages of a bidirectional stream.
    fn forget_messages(&mut self) {
        if self.frames.rules.kind == MethodKind::BidiStream && self.frames.is_between() {
            self.free = REQUEST_BYTES;
            self.held.release();
        }
    }

    fn end(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        Poll::Ready(Some(Err(status.into())))
    }
}

impl<B> Body for Checked<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while !self.ended {
            if let Some(uncharged) = &mut self.uncharged {
                let room = std::task::ready!(uncharged.room.as_mut().poll(context));
                let data = self.uncharged.take().map(|it| it.data).unwrap_or_default();
                match room {
                    Ok(()) => match self.collect(data) {
                        Some(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        None => continue,
                    },
                    Err(Exhausted) => return self.end(ApiError::TooManyRequests.into()),
                }
            }
            self.forget_messages();
            let frame = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    std::task::ready!(self.poll_deadline(context));
                    return self.end(ApiError::Timeout.into());
                }
            };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    self.ended = true;
                    match self.frames.end() {
                        Ok(()) => break,
                        Err(status) => return self.end(status),
                    }
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            self.server.metrics().received_bytes.inc_by(float(data.len() as u64));
            let unpacked = self.frames.unpacked;
            let data = match self.frames.take(data) {
                Ok(data) if data.is_empty() => continue,
                Ok(data) => data,
                Err(status) => return self.end(status),
            };
            let unpacked = self.frames.unpacked - unpacked;
            let bytes = data.len().saturating_add(unpacked);
            if let Some(data) = self.charge(data, bytes).and_then(|data| self.collect(data)) {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
