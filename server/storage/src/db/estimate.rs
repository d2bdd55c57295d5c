//! Estimates of the disk space that the database needs for a write, and of the free space in its
//! file.
//!
//! redb frees a page only after the page that replaces it is durable, so a flush that touches every
//! page writes all pages again. redb does not report the free pages of a file: the difference
//! between the file's size and the most that its rows can take is a lower bound.

use quorate_core::store::MemtableSize;

use crate::space::Disk;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
/// Maximum bytes that a transaction takes in addition to its rows.
const TRANSACTION_BYTES: u64 = 2 << 20;
/// Versions read by one step of deleting compacted history.
const COMPACT_ROWS: usize = 4096;
/// Versions read by one step on a disk with little free space. Each step frees the space for the
/// next one.
const COMPACT_ROWS_MIN: usize = 256;
/// Approximate bytes of a page for rows.
const USABLE_BYTES: u64 = PAGE_BYTES - 16;
/// Approximate bytes of a row in addition to its key and value.
const ROW_BYTES: u64 = 12;
/// A file is copied when its free space exceeds this plus three quarters of the bytes of its rows.
const WASTE_BYTES: u64 = 48 << 20;

/// Free and wanted space of a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceNeed {
    /// The size of the disk.
    pub disk: Disk,
    /// Free space with which a flush of all memtables certainly succeeds.
    pub wanted: u64,
}

/// The rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableSize {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl TableSize {
    /// Bytes of the pages of these rows if all pages are full. A row larger than a page has its own
    /// page, whose size is the next power of two.
    fn packed(self) -> u64 {
        let Some(row) = self.bytes.checked_div(self.count) else { return 0 };
        let row = row + ROW_BYTES;
        match USABLE_BYTES / row {
            0 => self.count * (row + ROW_BYTES).next_power_of_two(),
            in_page => self.count.div_ceil(in_page) * PAGE_BYTES,
        }
    }
}

/// The size of a database's file and its rows, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileUsage {
    pub(super) allocated: u64,
    pub(super) latest: TableSize,
    pub(super) history: TableSize,
}

impl FileUsage {
    fn packed(&self) -> u64 {
        let latest = self.latest.packed();
        let history = self.history.packed();
        (latest + history).max(self.latest.bytes + self.history.bytes)
    }

    /// Lower bound of the free bytes in the file: assumes that pages of trees are only two thirds
    /// full.
    fn slack(&self) -> u64 {
        self.allocated.saturating_sub(self.packed() / 2 * 3)
    }

    /// Whether to copy the file to make it smaller: it should stay under twice the bytes in use.
    /// `copied` is the usage after the last copy, which shows how small a copy can be.
    pub(super) fn is_wasteful(&self, copied: Option<Self>) -> bool {
        let packed = self.packed();
        let least = copied.map_or(packed, |copied| {
            let small = u128::from(packed) * u128::from(copied.allocated);
            let small = small / u128::from(copied.packed().max(1));
            u64::try_from(small).unwrap_or(u64::MAX).max(packed)
        });
        self.allocated > least / 4 * 7 + WASTE_BYTES
    }
}

/// The disk's size, and the free space with which a flush of `memtables` certainly succeeds.
pub(super) fn wanted(disk: Disk, usage: &FileUsage, memtables: MemtableSize) -> SpaceNeed {
    let latest = usage.latest.packed() / 2 * 3;
    let touched = (memtables.versions as u64 * PAGE_BYTES).min(latest);
    // Small values are written to both tables.
    let rows = 2 * memtables.bytes as u64;
    let wanted = (touched + rows).saturating_sub(usage.slack());
    SpaceNeed { disk, wanted: wanted + TRANSACTION_BYTES }
}

/// Free space that a flush of `memtable_bytes` bytes probably needs. Less than [`wanted`], because
/// the deletions that end a shortage must not wait for the worst case.
pub(super) fn flush(memtable_bytes: usize, usage: &FileUsage) -> u64 {
    (memtable_bytes as u64).saturating_sub(usage.slack()) + TRANSACTION_BYTES
}

/// Number of versions that a step of a compaction may read; `None` if the disk has no space for a
/// step.
pub(super) fn compaction(free: u64, usage: &FileUsage) -> Option<usize> {
    let room = free + usage.slack();
    let takes = |rows: usize| 2 * rows as u64 * PAGE_BYTES + TRANSACTION_BYTES;
    [COMPACT_ROWS, COMPACT_ROWS_MIN].into_iter().find(|rows| room >= takes(*rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn usage(allocated: u64) -> FileUsage {
        // Four rows fit into a page.
        let rows = |mib: u64| TableSize { count: mib << 10, bytes: (mib * 1000) << 10 };
        FileUsage { allocated: allocated * MIB, latest: rows(100), history: rows(200) }
    }

    #[test]
    fn rows_take_whole_pages() {
        let packed = |row: u64| TableSize { count: 1000, bytes: 1000 * row }.packed() / 1000;
        assert_eq!([packed(490), packed(2000), packed(2100)], [512, 2048, 4096]);
        assert_eq!([packed(5000), packed(MIB)], [8192, 2 * MIB]);
        assert_eq!(TableSize::default().packed(), 0);
    }

    #[test]
    fn wanted_space_depends_on_the_memtables_and_the_file() {
        let memtables = MemtableSize { bytes: 32 << 20, versions: 10_000 };
        let wanted = |allocated| wanted(Disk::default(), &usage(allocated), memtables).wanted / MIB;
        assert_eq!(wanted(400), 39 + 64 + 2);
        // At least 50 MiB of the file are free.
        assert_eq!(wanted(500), 39 + 64 + 2 - 50);
        assert_eq!(wanted(900), 2);
        assert_eq!(flush(32 << 20, &usage(400)), 34 * MIB);
    }

    #[test]
    fn a_compaction_continues_in_small_steps_on_a_full_disk() {
        let steps = [0, 5, 64].map(|free| compaction(free * MIB, &FileUsage::default()));
        assert_eq!(steps, [None, Some(COMPACT_ROWS_MIN), Some(COMPACT_ROWS)]);
    }

    #[test]
    fn a_file_is_not_copied_for_nothing() {
        assert!(!usage(560).is_wasteful(None) && usage(700).is_wasteful(None));
        // The file is larger than estimated, but the last copy was not smaller.
        assert!(!usage(700).is_wasteful(Some(usage(600))));
        assert!(usage(1200).is_wasteful(Some(usage(600))));
    }
}
