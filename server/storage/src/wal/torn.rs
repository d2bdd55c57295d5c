//! Whether a group that cannot be read was torn, or damaged after it had been synced.
//!
//! A group is torn when a sector is zero that cannot be zero in a group which was written in full:
//! the sector was never written, so the sync did not return and nobody was told of the group. This
//! proves it for headers that fail their checksum; [`GroupHeader::is_torn`] does for records.
//!
//! - The first bytes of a header are the magic number. When the part of a header that lies in its
//!   first sector is zero, that sector was not written. A disk that later loses a whole sector
//!   cannot look like this unseen: a header that goes on in a second sector begins behind another
//!   group, so the loss takes the end of that group too. That group is then the one that fails
//!   first, and what stands behind it proves that it had been synced.
//! - What follows the header's first sector holds the length, the segment or the first byte of the
//!   bitmap, none of which is zero.
//! - A sector that the bitmap alone fills is zero only where the sectors that it describes are.
//!
//! Everything that remains of the header must be what the header of this very group says.

use super::record::{
    GROUP_HEADER_LEN, MAGIC, RECORD_HEADER_LEN, Record, SECTOR, bitmap_len, group_len, is_zero,
};

/// Lengths that differ by less than this can have bitmaps of the same length.
const LENGTH_UNSURE: usize = 2 * 8 * SECTOR;

/// What is left of a header that fails its checksum.
pub(super) struct Remains<'a> {
    image: &'a [u8],
    /// Where the group begins.
    at: usize,
    segment: u64,
    number: u64,
}

/// A torn group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// Where the group ends, if enough of its header is left to tell. Nothing was written behind
    /// it, because the next group is written when this one is synced.
    pub(super) end: Option<usize>,
}

impl<'a> Remains<'a> {
    /// Of group `number` of `segment`, which begins at `at` in `image`.
    pub(super) fn new(image: &'a [u8], at: usize, segment: u64, number: u64) -> Self {
        Self { image, at, segment, number }
    }

    /// Proves that the group was torn; `None` when it may have been damaged.
    pub(super) fn torn(&self) -> Option<Torn> {
        let fixed_end = self.at + GROUP_HEADER_LEN;
        let second = (self.at / SECTOR + 1) * SECTOR;
        let first_is_zero = is_zero(self.bytes(self.at, second.min(fixed_end)));
        if second < fixed_end && is_zero(self.bytes(second, second + SECTOR)) {
            // What the first sector says must be true: it was written whole, or not at all.
            return (!first_is_zero && self.agrees(self.at, second)).then_some(Torn { end: None });
        }
        if first_is_zero {
            // A header that ends in its first sector is gone without trace, which is another case.
            let is_ours = second < fixed_end && self.agrees(second, fixed_end);
            return is_ours.then(|| Torn { end: Some(self.end()) });
        }
        (self.agrees(self.at, fixed_end) && self.lacks_bitmap())
            .then(|| Torn { end: Some(self.end()) })
    }

    /// Whether the fields of the header that lie in `from..to` are those of this group. Its
    /// checksum cannot be known.
    fn agrees(&self, from: usize, to: usize) -> bool {
        let field = |offset: usize, length: usize, says: bool| {
            let (start, end) = (self.at + offset, self.at + offset + length);
            says || start < from || end > to
        };
        field(0, 4, self.u32(0) == MAGIC)
            && field(8, 8, self.u64(8) == self.segment)
            && field(16, 8, self.u64(16) == self.number)
            && field(24, 4, self.length() > 0)
            && field(24, 8, self.sectors() == bitmap_len(self.length()))
    }

    /// Whether a sector behind the first, in which nothing but the bitmap lies, was not written.
    fn lacks_bitmap(&self) -> bool {
        let bitmap = self.at + GROUP_HEADER_LEN;
        let end = bitmap + self.sectors();
        let first = self.at / SECTOR;
        (first + 1..=(end - 1) / SECTOR).any(|index| {
            let (start, stop) = (index * SECTOR, (index + 1) * SECTOR);
            if !is_zero(self.bytes(start, stop)) {
                return false;
            }
            // The first bit is set in every group: the magic number lies in its sector.
            if start <= bitmap {
                return true;
            }
            let described = first + (start - bitmap) * 8..first + (stop.min(end) - bitmap) * 8;
            // Written in full, the sector is zero only if all that it describes is. Then the
            // records are whole, and it is the header that was damaged.
            !is_zero(self.bytes(described.start * SECTOR, described.end * SECTOR))
                || !self.records_are_whole()
        })
    }

    /// Whether the records can be read, as far as there are any.
    fn records_are_whole(&self) -> bool {
        let first = self.at + GROUP_HEADER_LEN + self.sectors();
        let end = first + self.length();
        let mut at = first;
        while at < end {
            match Record::decode(self.bytes(at, self.image.len())) {
                Some((_, size)) => at += size,
                // The length may be what was damaged, as far as the bitmap's does not tell.
                None => return at > first && end - at < LENGTH_UNSURE && self.ends_at(at),
            }
        }
        true
    }

    /// Whether there is no record at `at`.
    fn ends_at(&self, at: usize) -> bool {
        is_zero(self.bytes(at, at + RECORD_HEADER_LEN))
    }

    /// Where a group ends whose length is known.
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

    /// What lies from `from` to `to`, as far as the segment goes.
    fn bytes(&self, from: usize, to: usize) -> &'a [u8] {
        let end = to.min(self.image.len());
        &self.image[from.min(end)..end]
    }
}
