//! How much of the disk the database may want, looked up before it writes; and whether its file is
//! larger than it has to be.
//!
//! Nothing that is replaced is free before what replaces it is durable: a flush that touches every
//! page writes all of them anew. How many pages of the file are free, redb does not tell; what lies
//! between its size and what the rows in it take at most is a lower bound.

use quorate_core::store::LayerSize;

use crate::space::Disk;

/// Bytes of a page.
const PAGE_BYTES: u64 = 4096;
/// What any transaction may take beside the rows.
const TRANSACTION_BYTES: u64 = 2 << 20;
/// Versions looked at in one transaction while compacted history is deleted.
const COMPACT_ROWS: usize = 4096;
/// The same on a disk with little room, where each step frees what the next one needs.
const COMPACT_ROWS_MIN: usize = 256;
/// What can be used of a page, about, and what a row takes beside its bytes.
const USABLE_BYTES: u64 = PAGE_BYTES - 16;
const ROW_BYTES: u64 = 12;
/// Space that may be free in the file, beside three quarters of what the rows take, before it is
/// made smaller.
const WASTE_BYTES: u64 = 48 << 20;

/// The room on a disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What the disk has.
    pub disk: Disk,
    /// What must be free for all that is in memory to be flushed for sure.
    pub wanted: u64,
}

/// Rows of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Rows {
    /// The bytes of the pages they lie in when no more fit into any. A row that is larger than a
    /// page has one of its own, whose size is the next power of two.
    fn packed(self) -> u64 {
        let Some(row) = self.bytes.checked_div(self.count) else { return 0 };
        let row = row + ROW_BYTES;
        match USABLE_BYTES / row {
            0 => self.count * (row + ROW_BYTES).next_power_of_two(),
            in_page => self.count.div_ceil(in_page) * PAGE_BYTES,
        }
    }
}

/// What is in a database's file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) allocated: u64,
    pub(super) latest: Rows,
    pub(super) history: Rows,
}

impl Content {
    fn packed(&self) -> u64 {
        let (latest, history) = (self.latest.packed(), self.history.packed());
        (latest + history).max(self.latest.bytes + self.history.bytes)
    }

    /// What is free in the file, at least: pages of trees are two thirds full, or more.
    fn slack(&self) -> u64 {
        self.allocated.saturating_sub(self.packed() / 2 * 3)
    }

    /// Whether the file is to be made smaller: it shall stay under twice what is in use. A copy
    /// that was made before tells how small one can be.
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

/// What is wanted for layers of this size.
pub(super) fn wanted(disk: Disk, content: &Content, layers: LayerSize) -> Room {
    let latest = content.latest.packed() / 2 * 3;
    let touched = (layers.versions as u64 * PAGE_BYTES).min(latest);
    // Small values are written twice.
    let rows = 2 * layers.bytes as u64;
    let wanted = (touched + rows).saturating_sub(content.slack());
    Room { disk, wanted: wanted + TRANSACTION_BYTES }
}

/// What a flush of so many bytes takes in all likelihood: less than what is wanted. Deletions that
/// end a shortage must not wait because of what could be.
pub(super) fn flush(layer_bytes: usize, content: &Content) -> u64 {
    (layer_bytes as u64).saturating_sub(content.slack()) + TRANSACTION_BYTES
}

/// How many versions a step of a compaction may look at; `None` when there is no room for any.
pub(super) fn compaction(free: u64, content: &Content) -> Option<usize> {
    let room = free + content.slack();
    let takes = |rows: usize| 2 * rows as u64 * PAGE_BYTES + TRANSACTION_BYTES;
    [COMPACT_ROWS, COMPACT_ROWS_MIN].into_iter().find(|rows| room >= takes(*rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn content(allocated: u64) -> Content {
        // Four in a page.
        let rows = |mib: u64| Rows { count: mib << 10, bytes: (mib * 1000) << 10 };
        Content { allocated: allocated * MIB, latest: rows(100), history: rows(200) }
    }

    #[test]
    fn rows_take_whole_pages() {
        let packed = |row: u64| Rows { count: 1000, bytes: 1000 * row }.packed() / 1000;
        assert_eq!([packed(490), packed(2000), packed(2100)], [512, 2048, 4096]);
        assert_eq!([packed(5000), packed(MIB)], [8192, 2 * MIB]);
        assert_eq!(Rows::default().packed(), 0);
    }

    #[test]
    fn what_is_wanted_follows_what_is_written() {
        let layers = LayerSize { bytes: 32 << 20, versions: 10_000 };
        let wanted = |allocated| wanted(Disk::default(), &content(allocated), layers).wanted / MIB;
        assert_eq!(wanted(400), 39 + 64 + 2);
        // 50 MiB of the file are free for sure.
        assert_eq!(wanted(500), 39 + 64 + 2 - 50);
        assert_eq!(wanted(900), 2);
        assert_eq!(flush(32 << 20, &content(400)), 34 * MIB);
    }

    #[test]
    fn a_compaction_goes_on_in_small_steps() {
        let steps = [0, 5, 64].map(|free| compaction(free * MIB, &Content::default()));
        assert_eq!(steps, [None, Some(COMPACT_ROWS_MIN), Some(COMPACT_ROWS)]);
    }

    #[test]
    fn a_file_is_not_copied_for_nothing() {
        assert!(!content(560).is_wasteful(None) && content(700).is_wasteful(None));
        // Larger than reckoned, and no copy was smaller.
        assert!(!content(700).is_wasteful(Some(content(600))));
        assert!(content(1200).is_wasteful(Some(content(600))));
    }
}
