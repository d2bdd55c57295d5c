//! The format of the log on disk: groups of records.
//!
//! A group has the records that one write and one sync made durable. All numbers are little endian.
//!
//! ```text
//!   group    magic u32 | crc u32 | segment u64 | number u64 | length u32 | sectors u32
//!            | bitmap, one bit for each 512-byte sector the group touches | records | padding to 8
//!   record   length u32 | crc u32 | kind u8 | entry kind u8 | 0 u16 | term u64 | index u64
//!            | payload
//! ```
//!
//! The `crc` of a group covers the rest of its header and the bitmap; the `crc` of a record covers
//! the rest of the record. A set bit of the bitmap means that the group wrote a nonzero byte to the
//! sector. Segments are zero before they are written, and a disk writes a sector whole or not at
//! all. So if a sector with a set bit is zero, a crash tore the group before it was synced, and the
//! group was never acknowledged. If all of these sectors are nonzero but a checksum fails, the
//! group was damaged after it was written.

use bytes::Bytes;
use crc32c::crc32c;
use quorate_core::LogPosition;

/// First bytes of every group.
pub(super) const MAGIC: u32 = 0x5057_4751;
/// Bytes of a group's header without the bitmap.
pub(super) const GROUP_HEADER_LEN: usize = 32;
/// Bytes of a record without its payload.
pub(super) const RECORD_HEADER_LEN: usize = 28;
/// Bytes that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;
/// Groups begin at multiples of this.
const GROUP_ALIGN: usize = 8;

/// An entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the log.
    pub position: LogPosition,
    /// Kind of the entry, opaque here.
    pub kind: u8,
    /// Content of the entry, opaque here.
    pub payload: Bytes,
}

/// A change of the log. Records are in the order of the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// First record of every segment: the data format and the length of the file.
    Segment { format: u32, length: u64 },
    /// An entry was appended.
    Entry(Entry),
    /// A vote was saved.
    Vote(Bytes),
    /// Entries up to this position are committed.
    Committed(LogPosition),
    /// Entries after this position were removed; all entries for `None`.
    TruncateAfter(Option<LogPosition>),
    /// Entries up to this position were removed.
    Purge(LogPosition),
    /// Last record of every segment except the newest. The next segment exists before this record
    /// is written, so a log whose newest segment has it has lost segments.
    Continued,
}

/// Numbers of the kinds of records on disk. A number is never reused.
mod kind {
    pub(super) const SEGMENT: u8 = 1;
    pub(super) const ENTRY: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const COMMITTED: u8 = 4;
    pub(super) const TRUNCATE_AFTER: u8 = 5;
    pub(super) const TRUNCATE_ALL: u8 = 6;
    pub(super) const PURGE: u8 = 7;
    pub(super) const CONTINUED: u8 = 8;
}

impl Record {
    /// Appends the record to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let none = LogPosition::default();
        match self {
            Self::Segment { format, length } => {
                let payload = [&format.to_le_bytes()[..], &length.to_le_bytes()].concat();
                put_record(out, kind::SEGMENT, 0, none, &payload);
            }
            Self::Entry(e) => put_record(out, kind::ENTRY, e.kind, e.position, &e.payload),
            Self::Vote(vote) => put_record(out, kind::VOTE, 0, none, vote),
            Self::Committed(at) => put_record(out, kind::COMMITTED, 0, *at, &[]),
            Self::TruncateAfter(Some(at)) => put_record(out, kind::TRUNCATE_AFTER, 0, *at, &[]),
            Self::TruncateAfter(None) => put_record(out, kind::TRUNCATE_ALL, 0, none, &[]),
            Self::Purge(at) => put_record(out, kind::PURGE, 0, *at, &[]),
            Self::Continued => put_record(out, kind::CONTINUED, 0, none, &[]),
        }
    }

    /// Length of the encoded record in bytes.
    pub(super) fn encoded_len(&self) -> usize {
        let payload = match self {
            Self::Segment { .. } => 12,
            Self::Entry(entry) => entry.payload.len(),
            Self::Vote(vote) => vote.len(),
            Self::Committed(_) | Self::TruncateAfter(_) | Self::Purge(_) | Self::Continued => 0,
        };
        RECORD_HEADER_LEN + payload
    }

    /// Decodes the record at the start of `bytes` and returns it with its length. `None` if it is
    /// damaged or cut off.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let header = bytes.get(..RECORD_HEADER_LEN)?;
        let length = RECORD_HEADER_LEN.checked_add(u32_at(header, 0) as usize)?;
        let record = bytes.get(..length)?;
        if crc32c(&record[8..]) != u32_at(header, 4) {
            return None;
        }
        let position = LogPosition { term: u64_at(header, 12), index: u64_at(header, 20) };
        let payload = &record[RECORD_HEADER_LEN..];
        let decoded = match header[8] {
            kind::SEGMENT => {
                let payload = payload.get(..12)?;
                Self::Segment { format: u32_at(payload, 0), length: u64_at(payload, 4) }
            }
            kind::ENTRY => {
                let payload = Bytes::copy_from_slice(payload);
                Self::Entry(Entry { position, kind: header[9], payload })
            }
            kind::VOTE => Self::Vote(Bytes::copy_from_slice(payload)),
            kind::COMMITTED => Self::Committed(position),
            kind::TRUNCATE_AFTER => Self::TruncateAfter(Some(position)),
            kind::TRUNCATE_ALL => Self::TruncateAfter(None),
            kind::PURGE => Self::Purge(position),
            kind::CONTINUED => Self::Continued,
            _ => return None,
        };
        Some((decoded, length))
    }
}

fn put_record(out: &mut Vec<u8>, kind: u8, entry_kind: u8, at: LogPosition, payload: &[u8]) {
    let start = out.len();
    let length = u32::try_from(payload.len()).expect("payloads are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[kind, entry_kind, 0, 0]);
    out.extend_from_slice(&at.term.to_le_bytes());
    out.extend_from_slice(&at.index.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The header of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Number of the group's segment.
    pub(super) segment: u64,
    /// Number of the group in the segment, from 0.
    pub(super) number: u64,
    /// Bytes of the records.
    pub(super) length: usize,
    /// One bit for each sector the group touches.
    pub(super) bitmap: Vec<u8>,
}

impl GroupHeader {
    /// Bytes of the header with its bitmap.
    pub(super) fn encoded_len(&self) -> usize {
        GROUP_HEADER_LEN + self.bitmap.len()
    }

    /// Bytes of the whole group.
    pub(super) fn group_len(&self) -> usize {
        group_len(self.length)
    }

    /// Decodes the header at the start of `bytes`; `None` if there is none or it is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..GROUP_HEADER_LEN)?;
        if u32_at(fixed, 0) != MAGIC {
            return None;
        }
        let sectors = u32_at(fixed, 28) as usize;
        let end = GROUP_HEADER_LEN.checked_add(sectors)?;
        let header = bytes.get(..end)?;
        if crc32c(&header[8..]) != u32_at(fixed, 4) {
            return None;
        }
        Some(Self {
            segment: u64_at(fixed, 8),
            number: u64_at(fixed, 16),
            length: u32_at(fixed, 24) as usize,
            bitmap: header[GROUP_HEADER_LEN..].to_vec(),
        })
    }

    /// Whether a sector with a set bit is zero in `image`, the content of the segment: then the
    /// group was never written in full. `start` is the offset of the group. A sector with an unset
    /// bit proves nothing.
    pub(super) fn is_torn(&self, image: &[u8], start: usize) -> bool {
        let first = start / SECTOR;
        (0..self.bitmap.len() * 8).any(|bit| {
            let filled = self.bitmap[bit / 8] & (1 << (bit % 8)) != 0;
            filled && is_zero(sector(image, first + bit))
        })
    }
}

/// Writes the header and bitmap of a group and pads its end. `out` has bytes of the segment,
/// beginning at a multiple of the sector size. The group fills `out` from `start` to the end: space
/// for the header and for a bitmap of `bitmap_len` bytes (see [`bitmap_len`]), then the records.
pub(super) fn seal_group(
    out: &mut Vec<u8>,
    start: usize,
    bitmap_len: usize,
    segment: u64,
    number: u64,
) {
    let records = start + GROUP_HEADER_LEN + bitmap_len;
    let length = u32::try_from(out.len() - records).expect("a group is a few MiB");
    let group = (out.len() - start).next_multiple_of(GROUP_ALIGN);
    out.resize(start + group, 0);
    let header = &mut out[start..];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[8..16].copy_from_slice(&segment.to_le_bytes());
    header[16..24].copy_from_slice(&number.to_le_bytes());
    header[24..28].copy_from_slice(&length.to_le_bytes());
    let sectors = u32::try_from(bitmap_len).expect("a group is a few MiB");
    header[28..32].copy_from_slice(&sectors.to_le_bytes());
    let mut bitmap = vec![0u8; bitmap_len];
    for index in start / SECTOR..=(out.len() - 1) / SECTOR {
        if !is_zero(sector(out, index)) {
            let bit = index - start / SECTOR;
            bitmap[bit / 8] |= 1 << (bit % 8);
        }
    }
    out[start + GROUP_HEADER_LEN..records].copy_from_slice(&bitmap);
    let crc = crc32c(&out[start + 8..records]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Bytes of a group that holds `records` bytes of records.
pub(super) fn group_len(records: usize) -> usize {
    (GROUP_HEADER_LEN + bitmap_len(records) + records).next_multiple_of(GROUP_ALIGN)
}

/// Bytes of the bitmap of a group that holds `records` bytes of records, at any offset.
pub(super) fn bitmap_len(records: usize) -> usize {
    // Bits for the sectors of the records, for two more because the group may begin and end inside
    // a sector, and for the bitmap itself, which takes a 4096th of the records.
    let bytes = records + GROUP_HEADER_LEN + GROUP_ALIGN + records / 2048 + 64;
    (bytes / SECTOR + 2).div_ceil(8)
}

fn sector(image: &[u8], index: usize) -> &[u8] {
    let start = (index * SECTOR).min(image.len());
    &image[start..(start + SECTOR).min(image.len())]
}

/// Whether all of `bytes` are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
