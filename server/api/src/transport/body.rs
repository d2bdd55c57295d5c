//! The frames in the body of a call.
//!
//! ```text
//!   message   compressed u8 | length u32, big endian | bytes
//! ```
//!
//! Only whole heads are passed on, and none that is wrong, so that whoever decodes the messages
//! never has to say what is wrong with a frame.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

use crate::metrics::MethodType;
use crate::server::Server;
use crate::service::float;

/// Bytes of a message's head.
const HEAD_LEN: usize = 5;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is expected of the frames of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: MethodType,
    /// Whether messages may be compressed.
    pub(crate) is_gzip: bool,
    /// Bytes of the largest message.
    pub(crate) length_max: usize,
}

/// How far the frames were read.
#[derive(Debug)]
struct Frames {
    rules: Rules,
    /// Bytes of the head that is not whole yet.
    held: Bytes,
    /// Bytes of the message that are still to come; `None` between messages.
    left: Option<usize>,
    messages: u64,
}

impl Frames {
    fn new(rules: Rules) -> Self {
        Self { rules, held: Bytes::new(), left: None, messages: 0 }
    }

    /// Takes bytes that came; returns those that can be passed on.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
        let data = match self.held.is_empty() {
            true => data,
            false => [std::mem::take(&mut self.held), data].concat().into(),
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
            // A method that takes one message does not look at what follows.
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

    /// The length of the message with this head.
    fn check_head(&self, [flag, length @ ..]: [u8; HEAD_LEN]) -> Result<usize, Status> {
        let length = u32::from_be_bytes(length) as usize;
        let limit = self.rules.length_max;
        if length > limit {
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            return Err(Status::resource_exhausted(text));
        }
        match flag {
            0 => Ok(length),
            1 if self.rules.is_gzip => Ok(length),
            1 => {
                let text = "grpc: compressed flag set with identity or empty encoding";
                Err(Status::internal(text))
            }
            flag => {
                Err(Status::internal(format!("grpc: received unexpected payload format {flag}")))
            }
        }
    }

    /// Refuses a body that ends too early.
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

/// The body of a request, counted and with its frames checked.
pub(crate) struct Checked<B> {
    inner: B,
    server: Server,
    frames: Frames,
    ended: bool,
}

impl<B> Checked<B> {
    pub(crate) fn new(inner: B, server: Server, rules: Rules) -> Self {
        Self { inner, server, frames: Frames::new(rules), ended: false }
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
            let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
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
            match self.frames.take(data) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(status) => return self.end(status),
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

    /// What is passed on of `bytes` when they come in pieces of `piece`.
    fn passed(frames: &mut Frames, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Status> {
        let mut passed = Vec::new();
        for piece in bytes.chunks(piece) {
            passed.extend(frames.take(Bytes::copy_from_slice(piece))?);
        }
        frames.end().map(|()| passed)
    }

    #[test]
    fn whole_frames_are_passed_on_however_they_come() {
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
    fn what_is_wrong_is_named() {
        let kinds = [MethodType::Unary, MethodType::ServerStream, MethodType::BidiStream];
        let said = |bytes: &[u8]| {
            kinds.map(|kind| match passed(&mut frames(kind, false), bytes, 3) {
                Ok(_) => String::new(),
                Err(status) => format!("{:?}: {}", status.code(), status.message()),
            })
        };
        let larger = "ResourceExhausted: grpc: received message larger than max (101 vs. 100)";
        assert_eq!(said(&[1, 0, 0, 0, 101]), [larger; 3]);
        let format = "Internal: grpc: received unexpected payload format 7";
        assert_eq!(said(&[7, 0, 0, 0, 1, 1]), [format; 3]);
        let flag = "Internal: grpc: compressed flag set with identity or empty encoding";
        assert_eq!(said(&[1, 0, 0, 0, 1, 1]), [flag; 3]);
        let cut = "Internal: unexpected EOF";
        assert_eq!(said(&[0, 0, 0, 0, 9, 1]), ["Unknown: unexpected EOF", cut, cut]);
        let none = "Internal: cardinality violation: received no request message from \
                    non-client-streaming RPC";
        assert_eq!(said(&[]), ["Unknown: EOF", none, ""]);
        assert_eq!(said(&[0, 0]), ["Unknown: EOF", none, ""]);
    }
}
