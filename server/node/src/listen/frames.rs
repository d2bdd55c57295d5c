//! Rewrites the HTTP/2 frames that clients send before the library reads them.
//!
//! The library closes a connection that has too many small DATA frames waiting, because each costs
//! it more memory than its payload. But clients that pipeline requests on a stream send exactly
//! that: many small messages, faster than the answers come. So small DATA frames of one stream that
//! arrived together are merged into one frame. The bytes, their order within a stream and the
//! flow-control accounting stay the same. The library also tolerates few empty DATA frames; since
//! these carry nothing, they are dropped.
//!
//! HEADERS frames pass through [`authority::mend`], because the library refuses invalid
//! authorities.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};

use super::authority;

/// Bytes of a frame header: length, type, flags, stream.
const HEAD: usize = 9;
/// Largest payload of a frame: HTTP/2's default, because the server announces no other value.
const FRAME_MAX: usize = 1 << 14;
/// The library counts DATA frames with fewer bytes than this.
const SMALL: usize = 256;
/// Small DATA frames of one read that pass unchanged. Unary requests rarely make more.
const SMALL_PASSED_MAX: usize = 8;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 0x01;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// A frame header.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) })
    }

    /// Whether the frame is a small DATA frame to which the next one can be appended.
    fn is_small(self) -> bool {
        self.kind == DATA && self.length < SMALL && self.flags & (END_STREAM | PADDED) == 0
    }

    /// Whether the frame is a small DATA frame that ends its stream.
    fn is_small_end(self) -> bool {
        let ends = self.flags & (END_STREAM | PADDED) == END_STREAM;
        self.kind == DATA && self.length < SMALL && ends
    }

    /// Whether the frame is a HEADERS frame, which must be complete before it is passed on.
    fn is_headers(self) -> bool {
        self.kind == HEADERS && self.length <= FRAME_MAX
    }
}

/// Replaces an invalid authority in a complete HEADERS frame.
fn mend(frame: &mut [u8], head: Head) {
    let mut start = HEAD;
    let mut end = frame.len();
    if head.flags & PADDED != 0 {
        let Some(padding) = frame.get(start) else { return };
        end = end.saturating_sub(usize::from(*padding));
        start += 1;
    }
    if head.flags & PRIORITY != 0 {
        start += 5;
    }
    if let Some(block) = frame.get_mut(start..end) {
        authority::mend(block);
    }
}

/// A part of the output, in order.
enum Piece {
    /// Bytes that pass unchanged.
    AsItCame(BytesMut),
    /// A DATA frame, possibly merged from several.
    Data { stream: u32, flags: u8, data: Vec<u8> },
}

/// The position of the reader within the frames of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Bytes still to come of a frame whose beginning has passed unchanged.
    left: usize,
}

impl Frames {
    /// Replaces invalid authorities in place and returns how many of the bytes can be passed on as
    /// they are now. Usually that is all of them. The rest must go through [`Self::rework`].
    pub(super) fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = self.left.min(bytes.len());
        self.left -= at;
        let mut small = 0;
        while let Some(head) = Head::read(&bytes[at..]) {
            if head.is_small() {
                small += 1;
                if small > SMALL_PASSED_MAX || head.length == 0 {
                    return at;
                }
            }
            let end = at + HEAD + head.length;
            if head.is_headers() {
                let Some(frame) = bytes.get_mut(at..end) else { return at };
                mend(frame, head);
            }
            if end > bytes.len() {
                self.left = end - bytes.len();
                return bytes.len();
            }
            at = end;
        }
        at
    }

    /// Moves frames from `held` to `ready` and merges small DATA frames on the way. Incomplete
    /// HEADERS and small DATA frames stay in `held`.
    pub(super) fn rework(&mut self, held: &mut BytesMut, ready: &mut BytesMut) {
        let mut pieces = Vec::new();
        // For each stream, the index of the piece that its next small DATA frame can be added to.
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        let left = self.left.min(held.len());
        self.left -= left;
        pieces.push(Piece::AsItCame(held.split_to(left)));
        while let Some(head) = Head::read(held) {
            let is_whole = HEAD + head.length <= held.len();
            let is_small = head.is_small();
            if !is_whole && (is_small || head.is_headers()) {
                break;
            }
            if is_small || (is_whole && head.is_small_end() && open.contains_key(&head.stream)) {
                let frame = held.split_to(HEAD + head.length);
                add(&mut pieces, &mut open, head, &frame[HEAD..]);
                continue;
            }
            // Later data of the stream must not be merged into a piece before this frame: that
            // would change their order.
            open.remove(&head.stream);
            let length = held.len().min(HEAD + head.length);
            self.left = HEAD + head.length - length;
            let mut frame = held.split_to(length);
            if head.is_headers() {
                mend(&mut frame, head);
            }
            pieces.push(Piece::AsItCame(frame));
        }
        pieces.iter().for_each(|piece| piece.write(ready));
    }
}

/// Adds the payload of a DATA frame to the open piece of its stream, or begins a new piece.
fn add(pieces: &mut Vec<Piece>, open: &mut BTreeMap<u32, usize>, head: Head, more: &[u8]) {
    let place = open.get(&head.stream).and_then(|place| pieces.get_mut(*place));
    match place {
        Some(Piece::Data { flags, data, .. }) if data.len() + more.len() <= FRAME_MAX => {
            data.extend_from_slice(more);
            *flags = head.flags;
        }
        // An empty frame carries nothing unless it ends the stream.
        _ if more.is_empty() && head.is_small() => return,
        _ => {
            open.insert(head.stream, pieces.len());
            let stream = head.stream;
            let flags = head.flags;
            pieces.push(Piece::Data { stream, flags, data: more.to_vec() });
        }
    }
    if !head.is_small() {
        open.remove(&head.stream);
    }
}

impl Piece {
    fn write(&self, ready: &mut BytesMut) {
        match self {
            Self::AsItCame(bytes) => ready.extend_from_slice(bytes),
            Self::Data { stream, flags, data } => {
                ready.put_uint(data.len() as u64, 3);
                ready.put_u8(DATA);
                ready.put_u8(*flags);
                ready.put_u32(*stream);
                ready.extend_from_slice(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = BytesMut::new();
        frame.put_uint(payload.len() as u64, 3);
        frame.put_u8(kind);
        frame.put_u8(flags);
        frame.put_u32(stream);
        frame.extend_from_slice(payload);
        frame.to_vec()
    }

    /// The bytes that the library reads when `bytes` arrive in pieces of `piece` bytes.
    fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut frames = Frames::default();
        let mut held = BytesMut::new();
        let mut ready = BytesMut::new();
        for piece in bytes.chunks(piece) {
            let mut piece = piece.to_vec();
            if held.is_empty() {
                let passed = frames.pass(&mut piece);
                ready.extend_from_slice(&piece[..passed]);
                held.extend_from_slice(&piece[passed..]);
            } else {
                held.extend_from_slice(&piece);
            }
            frames.rework(&mut held, &mut ready);
        }
        ready.extend_from_slice(&held);
        ready.to_vec()
    }

    /// The frames of each stream, adjacent DATA frames merged, and how many frames there were.
    fn by_stream(mut bytes: &[u8]) -> (BTreeMap<u32, Vec<u8>>, usize) {
        let mut streams = BTreeMap::<u32, Vec<u8>>::new();
        let mut count = 0;
        while let Some(head) = Head::read(bytes) {
            let (whole, rest) = bytes.split_at(HEAD + head.length);
            let stream = streams.entry(head.stream).or_default();
            if head.kind == DATA {
                stream.extend(&whole[HEAD..]);
                stream.extend([b'E'].iter().filter(|_| head.flags & END_STREAM != 0));
            } else {
                stream.extend(whole);
            }
            count += 1;
            bytes = rest;
        }
        assert!(bytes.is_empty(), "the last frame must be complete");
        (streams, count)
    }

    #[test]
    fn small_data_frames_are_merged() {
        let mut bytes = frame(HEADERS, 4, 1, b"\x88");
        for number in 0..20_000_u32 {
            bytes.extend(frame(DATA, 0, 1 + number % 2 * 2, &number.to_be_bytes()));
            bytes.extend(frame(DATA, 0, 5, b""));
        }
        bytes.extend(frame(DATA, END_STREAM, 1, b""));
        let read = read(&bytes, 8192);
        let (before, _) = by_stream(&bytes);
        let (after, count) = by_stream(&read);
        assert_eq!((&before[&1], &before[&3]), (&after[&1], &after[&3]));
        assert!(count < 2000, "{count}");
    }

    #[test]
    fn authorities_are_replaced_wherever_reads_split_the_frames() {
        let bad = b"\x83\x86\x41\x03a b\x44\x02/a";
        let good = b"\x83\x86\x41\x03000\x44\x02/a";
        let padded = |block: &[u8]| [&[2][..], &[0; 5], block, &[0; 2]].concat();
        let flags = PADDED | PRIORITY | 4;
        let frames = |block: &[u8]| {
            [
                frame(DATA, 0, 1, &[7; 300]),
                frame(HEADERS, 4, 3, block),
                frame(HEADERS, flags, 5, &padded(block)),
            ]
            .concat()
        };
        for piece in 1..400 {
            assert_eq!(read(&frames(bad), piece), frames(good), "{piece}");
        }
    }

    proptest! {
        #[test]
        fn each_stream_keeps_its_bytes_and_order(
            frames in prop::collection::vec((0_u8..4, 0_u8..2, 0_u32..4, 0_usize..300), 0..200),
            piece in 1_usize..3000,
        ) {
            let mut value = 0_u8;
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, stream, length)| {
                value = value.wrapping_add(1);
                // DATA twice as often as each of the two other types.
                let kind = [DATA, DATA, 3, 8][usize::from(*kind)];
                frame(kind, *flags, *stream, &vec![value; *length])
            }).collect();
            let (before, _) = by_stream(&bytes);
            let (after, _) = by_stream(&read(&bytes, piece));
            let not_empty = |streams: BTreeMap<u32, Vec<u8>>| {
                streams.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect::<Vec<_>>()
            };
            prop_assert_eq!(not_empty(before), not_empty(after));
        }
    }
}
