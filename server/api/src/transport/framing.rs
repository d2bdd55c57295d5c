//! Checks the gRPC frames in the body of a call.
//!
//! ```text
//!   message   compressed u8 | length u32, big endian | bytes
//! ```
//!
//! Only complete and valid frame headers are passed on, so that the decoder never has to report an
//! invalid frame.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use tonic::{Code, Status};

use crate::error::ApiError;
use crate::method::MethodKind;

/// Bytes of a frame header.
pub(crate) const HEAD_LEN: usize = 5;
/// A compressed message grows at most by this factor: the limit of the deflate format.
const UNPACKED_TIMES: usize = 1032;

/// The frame of a message, not compressed.
///
/// # Errors
/// The message is longer than a frame can say.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, ApiError> {
    let length = message.encoded_len();
    let head = u32::try_from(length).map_err(|_| ApiError::RequestTooLarge)?;
    let mut frame = BytesMut::with_capacity(HEAD_LEN + length);
    frame.put_u8(0);
    frame.put_u32(head);
    message.encode_raw(&mut frame);
    Ok(frame.freeze())
}

/// The rules for the frames of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: MethodKind,
    /// Whether the message is a transaction, whose operations are charged before it is decoded.
    pub(crate) is_txn: bool,
    /// Whether messages may be compressed.
    pub(crate) is_gzip: bool,
    /// Largest size of a message in bytes. It is checked here before decompression; the decoder has
    /// the same limit for the size after decompression.
    pub(crate) length_max: usize,
}

/// The position of the reader within the frames.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) rules: Rules,
    /// The bytes of an incomplete frame header.
    held: Bytes,
    /// Bytes of the current message still to come; `None` between messages.
    left: Option<usize>,
    /// Number of complete messages.
    pub(super) messages: u64,
    /// Most bytes that the compressed messages so far can have after decompression.
    pub(super) unpacked: usize,
}

impl Frames {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, held: Bytes::new(), left: None, messages: 0, unpacked: 0 }
    }

    /// Takes received bytes; returns those that can be passed on.
    pub(super) fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
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
            if self.rules.kind == MethodKind::Unary && self.messages > 0 {
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

    /// Whether every message that has begun is complete.
    pub(super) fn is_between(&self) -> bool {
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
                let most = length.saturating_mul(UNPACKED_TIMES).min(limit);
                self.unpacked = self.unpacked.saturating_add(most);
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
    pub(super) fn end(&self) -> Result<(), Status> {
        let cut = self.left.is_some();
        match self.rules.kind {
            MethodKind::Unary if cut => Err(Status::new(Code::Unknown, "unexpected EOF")),
            _ if cut => Err(Status::internal("unexpected EOF")),
            MethodKind::Unary if self.messages == 0 => Err(Status::new(Code::Unknown, "EOF")),
            MethodKind::ServerStream if self.messages == 0 => {
                let text = "cardinality violation: received no request message from \
                            non-client-streaming RPC";
                Err(Status::internal(text))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(kind: MethodKind, is_gzip: bool) -> Frames {
        Frames::new(Rules { kind, is_txn: false, is_gzip, length_max: 100 })
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
            let mut stream = frames(MethodKind::BidiStream, true);
            assert_eq!(passed(&mut stream, &stray, piece).unwrap(), two);
            let mut unary = frames(MethodKind::Unary, false);
            assert_eq!(passed(&mut unary, &stray, piece).unwrap(), two[..7]);
        }
    }

    #[test]
    fn small_compressed_messages_count_by_their_length() {
        let mut frames = Frames::new(Rules {
            kind: MethodKind::BidiStream,
            is_txn: false,
            is_gzip: true,
            length_max: 2 << 20,
        });
        let small = [1, 0, 0, 0, 2, b'a', b'b'];
        frames.take(Bytes::from(small.repeat(400))).unwrap();
        assert_eq!(frames.unpacked, 400 * 2 * UNPACKED_TIMES);
        frames.take(Bytes::from_static(&[1, 0, 16, 0, 0])).unwrap();
        assert_eq!(frames.unpacked, 400 * 2 * UNPACKED_TIMES + (2 << 20));
    }

    #[test]
    fn errors_are_those_of_grpc_go() {
        let kinds = [MethodKind::Unary, MethodKind::ServerStream, MethodKind::BidiStream];
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
