//! Reads the frames of a client. The texts about violations are those of the library that etcd uses
//! for web sockets.

use std::io::Cursor;

use bytes::{Buf as _, Bytes, BytesMut};
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes of the largest payload of a control frame.
const CONTROL_MAX: u64 = 125;

/// A part of the bytes that a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Some bytes of a message.
    Data(Bytes),
    /// The end of a message.
    End,
    /// A ping, with its payload.
    Ping(Bytes),
    /// The end of the connection, with the payload of the close frame to send.
    Close(Bytes),
}

/// The position of the reader within the frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Number of bytes of the current frame that are still to come.
    left: u64,
    /// The mask of the current frame, rotated: its first byte masks the next byte of the frame.
    mask: [u8; 4],
    /// Whether a message has begun and not ended.
    is_within: bool,
    /// Whether the message ends with the current frame.
    is_last: bool,
}

impl Frames {
    /// Takes the next part off `bytes`. Returns `None` if more bytes have to arrive first. After a
    /// violation of the protocol, the part is [`Part::Close`]. After a [`Part::Close`], this method
    /// must not be called again.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Option<Part> {
        loop {
            if self.left > 0 {
                return self.data(bytes).map(Part::Data);
            }
            if std::mem::take(&mut self.is_last) {
                self.is_within = false;
                return Some(Part::End);
            }
            let mut cursor = Cursor::new(&bytes[..]);
            let (head, length) = match FrameHeader::parse(&mut cursor) {
                Ok(head) => head?,
                Err(tungstenite::Error::Protocol(ProtocolError::InvalidOpcode(code))) => {
                    return Some(violation(&format!("bad opcode {code}")));
                }
                Err(_) => return Some(violation("bad frame")),
            };
            let head_length = usize::try_from(cursor.position()).expect("a head has few bytes");
            let Some(mask) = head.mask.filter(|_| self.problems(&head, length).is_empty()) else {
                return Some(violation(&self.problems(&head, length).join(", ")));
            };
            match head.opcode {
                OpCode::Data(_) => {
                    bytes.advance(head_length);
                    *self = Self { left: length, mask, is_within: true, is_last: head.is_final };
                }
                OpCode::Control(control) => {
                    let length = usize::try_from(length).expect("it was checked");
                    if bytes.len() < head_length + length {
                        return None;
                    }
                    bytes.advance(head_length);
                    let mut payload = bytes.split_to(length);
                    unmask(&mut payload, mask);
                    match control {
                        Control::Ping => return Some(Part::Ping(payload.freeze())),
                        Control::Close => return Some(close(payload.freeze())),
                        Control::Pong | Control::Reserved(_) => {}
                    }
                }
            }
        }
    }

    /// Takes bytes of the current frame off `bytes`.
    fn data(&mut self, bytes: &mut BytesMut) -> Option<Bytes> {
        if bytes.is_empty() {
            return None;
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let mut data = bytes.split_to(length);
        unmask(&mut data, self.mask);
        self.mask.rotate_left(length % 4);
        self.left -= length as u64;
        Some(data.freeze())
    }

    /// The violations of the protocol in a frame.
    fn problems(&self, head: &FrameHeader, length: u64) -> Vec<&'static str> {
        let is_control = matches!(head.opcode, OpCode::Control(_));
        let goes_on = head.opcode == OpCode::Data(Data::Continue);
        let checks = [
            (head.rsv1, "RSV1 set"),
            (head.rsv2, "RSV2 set"),
            (head.rsv3, "RSV3 set"),
            (is_control && length > CONTROL_MAX, "len > 125 for control"),
            (is_control && !head.is_final, "FIN not set on control"),
            (!is_control && !goes_on && self.is_within, "data before FIN"),
            (goes_on && !self.is_within, "continuation after FIN"),
            (head.mask.is_none(), "bad MASK"),
        ];
        checks.into_iter().filter(|(is_bad, _)| *is_bad).map(|(_, text)| text).collect()
    }
}

fn unmask(data: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in data.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// The end of the connection after a violation of the protocol.
fn violation(text: &str) -> Part {
    Part::Close([&u16::from(CloseCode::Protocol).to_be_bytes(), text.as_bytes()].concat().into())
}

/// The end of the connection after a close frame with this payload. If the payload is valid, the
/// close frame to send has the same code.
fn close(payload: Bytes) -> Part {
    let Some((code, text)) = payload.split_first_chunk() else { return Part::Close(Bytes::new()) };
    let number = u16::from_be_bytes(*code);
    if !CloseCode::from(number).is_allowed() {
        return violation(&format!("bad close code {number}"));
    }
    if std::str::from_utf8(text).is_err() {
        return violation("invalid utf8 payload in close frame");
    }
    Part::Close(payload.slice(..code.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A frame of a client.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        unmask(&mut payload, MASK);
        let length = u8::try_from(payload.len()).unwrap();
        [&[first, 0x80 | length], &MASK[..], &payload].concat()
    }

    /// The parts of `sent` if it arrives in pieces of `piece` bytes. Neighbouring data are joined.
    fn parts(sent: &[u8], piece: usize) -> Vec<Part> {
        let mut frames = Frames::default();
        let mut bytes = BytesMut::new();
        let mut parts: Vec<Part> = Vec::new();
        for piece in sent.chunks(piece) {
            bytes.extend_from_slice(piece);
            while !matches!(parts.last(), Some(Part::Close(_)))
                && let Some(part) = frames.next(&mut bytes)
            {
                match (part, parts.last_mut()) {
                    (Part::Data(more), Some(Part::Data(data))) => {
                        *data = [&data[..], &more].concat().into();
                    }
                    (part, _) => parts.push(part),
                }
            }
        }
        parts
    }

    #[test]
    fn messages_arrive_in_any_pieces() {
        let sent = [
            frame(0x01, b"{\"a\""),
            frame(0x89, b"ping"),
            frame(0x8a, b"pong"),
            frame(0x00, b""),
            frame(0x80, b":1}"),
            frame(0x82, b""),
            frame(0x88, &[3, 232, b'x']),
        ];
        let sent = sent.concat();
        let wanted = |data: Vec<Part>| {
            let end = [Part::End, Part::End, Part::Close(Bytes::from_static(&[3, 232]))];
            data.into_iter().chain(end).collect::<Vec<_>>()
        };
        let data = |text: &'static str| Part::Data(text.into());
        let ping = || Part::Ping("ping".into());
        for piece in 1..=sent.len() {
            let wanted = wanted(vec![data("{\"a\""), ping(), data(":1}")]);
            assert_eq!(parts(&sent, piece), wanted, "pieces of {piece}");
        }
    }

    #[test]
    fn violations_end_the_connection() {
        let long = [&[0x89, 0xfe, 0, 126], &MASK[..]].concat();
        let begun = [frame(0x01, b""), frame(0x01, b"")].concat();
        for (sent, text) in [
            (frame(0x83, b""), "bad opcode 3"),
            (frame(0xf1, b""), "RSV1 set, RSV2 set, RSV3 set"),
            (frame(0x09, b""), "FIN not set on control"),
            (long, "len > 125 for control"),
            (begun, "data before FIN"),
            (frame(0x80, b""), "continuation after FIN"),
            (vec![0x81, 0], "bad MASK"),
            (frame(0x88, &[3, 237]), "bad close code 1005"),
            (frame(0x88, &[3, 232, 255]), "invalid utf8 payload in close frame"),
        ] {
            let end = [&[3, 234], text.as_bytes()].concat();
            assert_eq!(parts(&sent, sent.len()), [Part::Close(end.into())], "{text}");
        }
        assert_eq!(parts(&frame(0x88, b"x"), 99), [Part::Close(Bytes::new())]);
    }
}
