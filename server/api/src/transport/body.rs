//! Checks the gRPC frames in the body of a call.
//!
//! ```text
//!   message   compressed u8 | length u32, big endian | bytes
//! ```
//!
//! Only complete and valid frame headers are passed on, so that the decoder never has to report an
//! invalid frame.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use quorate_raft::Exhausted;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};

use super::answer::float;
use super::charge::{Held, REQUEST_BYTES, exhausted};
use crate::error::{ApiError, status};
use crate::metrics::MethodType;
use crate::server::Server;

/// Time limit for a request to arrive completely. Without it, a request that arrives slowly would
/// occupy its connection's share of the memory budget for ever.
const REQUEST_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a frame header.
const HEAD_LEN: usize = 5;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The rules for the frames of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: MethodType,
    /// Whether messages may be compressed.
    pub(crate) is_gzip: bool,
    /// Largest size of a message in bytes, as it is sent.
    pub(crate) length_max: usize,
}

/// The position of the reader within the frames.
#[derive(Debug)]
struct Frames {
    rules: Rules,
    /// The bytes of an incomplete frame header.
    held: Bytes,
    /// Bytes of the current message still to come; `None` between messages.
    left: Option<usize>,
    /// Number of complete messages.
    messages: u64,
    /// Number of compressed messages.
    packed: usize,
}

impl Frames {
    fn new(rules: Rules) -> Self {
        Self { rules, held: Bytes::new(), left: None, messages: 0, packed: 0 }
    }

    /// Takes received bytes; returns those that can be passed on.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
        let data = if self.held.is_empty() {
            data
        } else {
            [std::mem::take(&mut self.held), data].concat().into()
        };
        let mut at = 0;
        loop {
            if let Some(left) = self.left {
                let step = left.min(data.len() - at);
                at += step;
                if step < left {
                    self.left = Some(left - step);
                    return Ok(data);
                }
                self.left = None;
                self.messages += 1;
            }
            // A unary method ignores all bytes after its message.
            if self.rules.kind == MethodType::Unary && self.messages > 0 {
                return Ok(data.slice(..at));
            }
            let Some((head, _)) = data[at..].split_first_chunk::<HEAD_LEN>() else {
                self.held = data.slice(at..);
                return Ok(data.slice(..at));
            };
            self.left = Some(self.check_head(*head)?);
            at += HEAD_LEN;
        }
    }

    /// Whether no message is incomplete.
    fn is_between(&self) -> bool {
        self.left.is_none() && self.held.is_empty()
    }

    /// Checks a frame header; returns the length of its message.
    fn check_head(&mut self, [flag, length @ ..]: [u8; HEAD_LEN]) -> Result<usize, Status> {
        let length = u32::from_be_bytes(length) as usize;
        let limit = self.rules.length_max;
        if length > limit {
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            return Err(Status::resource_exhausted(text));
        }
        match flag {
            0 => Ok(length),
            1 if self.rules.is_gzip => {
                self.packed += 1;
                Ok(length)
            }
            1 => {
                let text = "grpc: compressed flag set with identity or empty encoding";
                Err(Status::internal(text))
            }
            flag => {
                Err(Status::internal(format!("grpc: received unexpected payload format {flag}")))
            }
        }
    }

    /// Checks that the body may end here.
    fn end(&self) -> Result<(), Status> {
        let cut = self.left.is_some();
        match self.rules.kind {
            MethodType::Unary if cut => Err(Status::new(Code::Unknown, "unexpected EOF")),
            _ if cut => Err(Status::internal("unexpected EOF")),
            MethodType::Unary if self.messages == 0 => Err(Status::new(Code::Unknown, "EOF")),
            MethodType::ServerStream if self.messages == 0 => {
                let text = "cardinality violation: received no request message from \
                            non-client-streaming RPC";
                Err(Status::internal(text))
            }
            _ => Ok(()),
        }
    }
}

/// Data that wait for memory.
struct Waiting {
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
    /// Bytes that are still free, because the permit of the call includes them.
    free: usize,
    waiting: Option<Waiting>,
    /// The deadline for the request to arrive; set when it is first waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<B> Checked<B> {
    pub(crate) fn new(inner: B, server: Server, rules: Rules, held: Held) -> Self {
        let frames = Frames::new(rules);
        let free = REQUEST_BYTES;
        Self { inner, server, frames, held, free, waiting: None, deadline: None, ended: false }
    }

    /// Charges received data: their length, and for each of the `packed` compressed messages that
    /// begin in them, the largest size that it can have decompressed. Returns the data if there is
    /// room; otherwise they wait in `waiting`.
    fn charge(&mut self, data: Bytes, packed: usize) -> Option<Bytes> {
        let unpacked = packed.saturating_mul(self.frames.rules.length_max);
        let bytes = data.len().saturating_add(unpacked);
        let beyond = bytes.saturating_sub(self.free);
        self.free = self.free.saturating_sub(bytes);
        if beyond == 0 || self.held.try_grow(beyond) {
            return Some(data);
        }
        let room = Box::pin(self.held.clone().grow(beyond));
        self.waiting = Some(Waiting { data, room });
        None
    }

    /// Ready when the request takes too long to arrive. A stream may be idle between messages, but
    /// a message that has begun must arrive in time.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let is_there = match self.frames.rules.kind {
            MethodType::BidiStream => self.frames.is_between(),
            MethodType::Unary | MethodType::ServerStream => self.frames.messages > 0,
        };
        if is_there {
            self.deadline = None;
            return Poll::Pending;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(REQUEST_WITHIN)));
        deadline.as_mut().poll(context)
    }

    /// Between the messages of a bidirectional stream, releases the memory of those that have been
    /// passed on.
    fn forget_messages(&mut self) {
        if self.frames.rules.kind == MethodType::BidiStream && self.frames.is_between() {
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
            if let Some(waiting) = &mut self.waiting {
                let room = std::task::ready!(waiting.room.as_mut().poll(context));
                let data = self.waiting.take().map(|waiting| waiting.data).unwrap_or_default();
                match room {
                    Ok(()) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return self.end(exhausted(error)),
                }
            }
            self.forget_messages();
            let frame = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    std::task::ready!(self.poll_deadline(context));
                    return self.end(status(ApiError::Timeout));
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
            self.server.metrics().received_bytes.inc_by(float(data.len()));
            let packed = self.frames.packed;
            let data = match self.frames.take(data) {
                Ok(data) if data.is_empty() => continue,
                Ok(data) => data,
                Err(status) => return self.end(status),
            };
            let packed = self.frames.packed - packed;
            if let Some(data) = self.charge(data, packed) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(kind: MethodType, is_gzip: bool) -> Frames {
        Frames::new(Rules { kind, is_gzip, length_max: 100 })
    }

    /// The bytes that are passed on when `bytes` arrive in pieces of `piece` bytes.
    fn passed(frames: &mut Frames, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Status> {
        let mut passed = Vec::new();
        for piece in bytes.chunks(piece) {
            passed.extend(frames.take(Bytes::copy_from_slice(piece))?);
        }
        frames.end().map(|()| passed)
    }

    #[test]
    fn frames_are_passed_on_wherever_reads_split_them() {
        let two = [0, 0, 0, 0, 2, b'a', b'b', 1, 0, 0, 0, 0];
        let stray = [&two[..], &[0, 0, 0]].concat();
        for piece in 1..=stray.len() {
            let mut stream = frames(MethodType::BidiStream, true);
            assert_eq!(passed(&mut stream, &stray, piece).unwrap(), two);
            let mut unary = frames(MethodType::Unary, false);
            assert_eq!(passed(&mut unary, &stray, piece).unwrap(), two[..7]);
        }
    }

    #[test]
    fn errors_are_those_of_grpc_go() {
        let kinds = [MethodType::Unary, MethodType::ServerStream, MethodType::BidiStream];
        let errors = |bytes: &[u8]| {
            kinds.map(|kind| match passed(&mut frames(kind, false), bytes, 3) {
                Ok(_) => String::new(),
                Err(status) => format!("{:?}: {}", status.code(), status.message()),
            })
        };
        let larger = "ResourceExhausted: grpc: received message larger than max (101 vs. 100)";
        assert_eq!(errors(&[1, 0, 0, 0, 101]), [larger; 3]);
        let format = "Internal: grpc: received unexpected payload format 7";
        assert_eq!(errors(&[7, 0, 0, 0, 1, 1]), [format; 3]);
        let flag = "Internal: grpc: compressed flag set with identity or empty encoding";
        assert_eq!(errors(&[1, 0, 0, 0, 1, 1]), [flag; 3]);
        let cut = "Internal: unexpected EOF";
        assert_eq!(errors(&[0, 0, 0, 0, 9, 1]), ["Unknown: unexpected EOF", cut, cut]);
        let none = "Internal: cardinality violation: received no request message from \
                    non-client-streaming RPC";
        assert_eq!(errors(&[]), ["Unknown: EOF", none, ""]);
        assert_eq!(errors(&[0, 0]), ["Unknown: EOF", none, ""]);
    }
}
