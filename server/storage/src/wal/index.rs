//! The places of the log's entries: their locations on disk, and the newest entries in memory.

use std::collections::VecDeque;

use quorate_core::LogPosition;

use super::record::Entry;

/// Consecutive items of the log, addressed by index.
#[derive(Debug)]
pub(super) struct IndexedRun<T> {
    first: u64,
    items: VecDeque<T>,
}

impl<T> Default for IndexedRun<T> {
    fn default() -> Self {
        Self { first: 0, items: VecDeque::new() }
    }
}

impl<T> IndexedRun<T> {
    /// Index of the first item, if there is one.
    pub(super) fn first(&self) -> Option<u64> {
        (!self.items.is_empty()).then_some(self.first)
    }

    /// Index of the last item, if there is one.
    pub(super) fn last(&self) -> Option<u64> {
        self.first().map(|first| first + self.items.len() as u64 - 1)
    }

    pub(super) fn get(&self, index: u64) -> Option<&T> {
        self.items.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Adds an item after the last one. The first item of an empty run may have any index.
    ///
    /// # Panics
    /// If `index` does not follow the last index.
    pub(super) fn push(&mut self, index: u64, item: T) {
        match self.last() {
            None => self.first = index,
            Some(last) => assert_eq!(index, last + 1, "the log has no holes"),
        }
        self.items.push_back(item);
    }

    /// Removes the first item.
    pub(super) fn pop_first(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.first += 1;
        Some(item)
    }

    /// Removes the items after `last`; all items for `None`.
    pub(super) fn truncate_after(&mut self, last: Option<u64>) {
        let keep = last.map_or(0, |last| (last + 1).saturating_sub(self.first));
        self.items.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }

    /// Removes the items up to and including `last`.
    pub(super) fn purge(&mut self, last: u64) {
        while self.first().is_some_and(|first| first <= last) {
            self.items.pop_front();
            self.first += 1;
        }
    }
}

/// Location of an entry on disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Location {
    /// Number of the segment.
    pub(super) segment: u64,
    /// Offset of the record in the segment.
    pub(super) offset: u32,
    /// Length of the record.
    pub(super) length: u32,
    /// Term of the entry.
    pub(super) term: u64,
}

/// The newest entries in memory, up to a number of bytes. They share their payloads with the
/// memtables of the store, so most of them need no extra memory.
#[derive(Debug)]
pub(super) struct EntryCache {
    entries: IndexedRun<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl EntryCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: IndexedRun::default(), bytes: 0, bytes_max }
    }

    pub(super) fn get(&self, index: u64) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Index of the first entry in memory.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.first()
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += weight(&entry);
        self.entries.push(entry.position.index, entry);
    }

    /// Drops the oldest entries while the limit is exceeded, but no entry after `written`, because
    /// these are not on disk yet.
    pub(super) fn shrink(&mut self, written: Option<u64>) {
        while self.bytes > self.bytes_max
            && self.entries.first().is_some_and(|first| Some(first) <= written)
            && let Some(entry) = self.entries.pop_first()
        {
            self.bytes -= weight(&entry);
        }
    }

    pub(super) fn truncate_after(&mut self, last: Option<LogPosition>) {
        self.entries.truncate_after(last.map(|last| last.index));
        self.bytes = self.entries.items.iter().map(weight).sum();
    }

    pub(super) fn purge(&mut self, last: u64) {
        while self.entries.first().is_some_and(|first| first <= last)
            && let Some(entry) = self.entries.pop_first()
        {
            self.bytes -= weight(&entry);
        }
    }
}

/// Approximate memory of an entry in bytes.
fn weight(entry: &Entry) -> usize {
    entry.payload.len() + size_of::<Entry>()
}
