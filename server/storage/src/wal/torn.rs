//! Decides whether an unreadable group was torn by a crash, or damaged after it was synced.
//!
//! A group is torn if one of its sectors is zero that a complete write leaves nonzero. The disk
//! never wrote that sector, so the sync did not return, and the group was never acknowledged. This
//! module proves it for headers that fail their checksum; [`GroupHeader::is_torn`] proves it for
//! records.
//!
//! - A header begins with the magic number. If the part of the header in its first sector is zero,
//!   that sector was not written. A later loss of this sector is noticed: the sector also has the
//!   end of the group before, because a header that extends into a second sector never begins a
//!   segment. That group is then the first unreadable one, and the remains after it prove that it
//!   was synced.
//! - The part of the header after its first sector has the length, the segment or the first byte of
//!   the bitmap. All of these are nonzero.
//! - If a sector has bits of the bitmap only, and a sector that it describes is nonzero, it must be
//!   nonzero, too.
//!
//! In each case the readable fields of the header must have the values of this group's header.

use super::record::{
    GROUP_HEADER_LEN, MAGIC, RECORD_HEADER_LEN, Record, SECTOR, bitmap_len, group_len, is_zero,
};

/// Two groups whose lengths differ by less than this can have bitmaps of the same length.
const LENGTH_UNSURE: usize = 2 * 8 * SECTOR;

/// The remains of a group whose header fails its checksum.
pub(super) struct Remains<'a> {
    image: &'a [u8],
    /// Offset of the group.
    at: usize,
    segment: u64,
    number: u64,
}

/// A torn group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// End of the group, if its header still has the length. Nothing was written after it, because
    /// the log writes the next group only after the sync of this one.
    pub(super) end: Option<usize>,
}

impl<'a> Remains<'a> {
    /// The remains of group `number` of `segment` at offset `at` of `image`.
    pub(super) fn new(image: &'a [u8], at: usize, segment: u64, number: u64) -> Self {
        Self { image, at, segment, number }
    }

    /// A [`Torn`] if the group was certainly torn; `None` if it may have been damaged.
    pub(super) fn torn(&self) -> Option<Torn> {
        let fixed_end = self.at + GROUP_HEADER_LEN;
        let second = (self.at / SECTOR + 1) * SECTOR;
        let first_is_zero = is_zero(self.bytes(self.at, second.min(fixed_end)));
        if second < fixed_end && is_zero(self.bytes(second, second + SECTOR)) {
            // The second sector was not written. The first was written whole, so it must be right.
            return (!first_is_zero && self.agrees(self.at, second)).then_some(Torn { end: None });
        }
        if first_is_zero {
            // A header that fits in its first sector is all zeros: the caller took that for the
            // end of the log.
            let is_ours = second < fixed_end && self.agrees(second, fixed_end);
            return is_ours.then(|| Torn { end: Some(self.end()) });
        }
        (self.agrees(self.at, fixed_end) && self.lacks_bitmap())
            .then(|| Torn { end: Some(self.end()) })
    }

    /// Whether the fields of the header inside `from..to` have the values of this group. Ignores
    /// the checksum, which cannot be computed.
    fn agrees(&self, from: usize, to: usize) -> bool {
        let field = |offset: usize, length: usize, says: bool| {
            let start = self.at + offset;
            let end = start + length;
            says || start < from || end > to
        };
        field(0, 4, self.u32(0) == MAGIC)
            && field(8, 8, self.u64(8) == self.segment)
            && field(16, 8, self.u64(16) == self.number)
            && field(24, 4, self.length() > 0)
            && field(24, 8, self.sectors() == bitmap_len(self.length()))
    }

    /// Whether a sector that has only bits of the bitmap, after the header's first sector, was not
    /// written.
    fn lacks_bitmap(&self) -> bool {
        let bitmap = self.at + GROUP_HEADER_LEN;
        let end = bitmap + self.sectors();
        let first = self.at / SECTOR;
        (first + 1..=(end - 1) / SECTOR).any(|index| {
            let start = index * SECTOR;
            let stop = start + SECTOR;
            if !is_zero(self.bytes(start, stop)) {
                return false;
            }
            // The first bit is set in every group, because the magic number is in its sector.
            if start <= bitmap {
                return true;
            }
            let described = first + (start - bitmap) * 8..first + (stop.min(end) - bitmap) * 8;
            // A written sector of the bitmap is zero only if all sectors that it describes are.
            // If they are zero and the records are whole, the header was damaged.
            !is_zero(self.bytes(described.start * SECTOR, described.end * SECTOR))
                || !self.records_are_whole()
        })
    }

    /// Whether all records can be decoded.
    fn records_are_whole(&self) -> bool {
        let first = self.at + GROUP_HEADER_LEN + self.sectors();
        let end = first + self.length();
        let mut at = first;
        while at < end {
            match Record::decode(self.bytes(at, self.image.len())) {
                Some((_, size)) => at += size,
                // The length may be damaged and still fit the bitmap, so the records may end
                // earlier.
                None => return at > first && end - at < LENGTH_UNSURE && self.ends_at(at),
            }
        }
        true
    }

    /// Whether the records end at `at`: the next record's header is zero.
    fn ends_at(&self, at: usize) -> bool {
        is_zero(self.bytes(at, at + RECORD_HEADER_LEN))
    }

    /// End of the group by its length.
    fn end(&self) -> usize {
        self.at + group_len(self.length())
    }

    fn length(&self) -> usize {
        self.u32(24) as usize
    }

    fn sectors(&self) -> usize {
        self.u32(28) as usize
    }

    fn u32(&self, offset: usize) -> u32 {
        let bytes = self.bytes(self.at + offset, self.at + offset + 4);
        bytes.try_into().map_or(0, u32::from_le_bytes)
    }

    fn u64(&self, offset: usize) -> u64 {
        let bytes = self.bytes(self.at + offset, self.at + offset + 8);
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }

    /// The bytes in `from..to`, cut off at the end of the segment.
    fn bytes(&self, from: usize, to: usize) -> &'a [u8] {
        let end = to.min(self.image.len());
        &self.image[from.min(end)..end]
    }
}
