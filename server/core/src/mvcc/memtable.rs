//! A memtable: the versions written since the last freeze, in memory.
//!
//! ```text
//!   log    r5:a=1   r6:b=1   r7:a=2   r8:a deleted        by revision; a flush appends them
//!             ^                 ^         |
//!             +----- older -----+-- older-+
//!   keys   a -> r8,  b -> r6                              by key, the newest version
//! ```
//!
//! The weight of a key is the memtable's change in the number of existing keys: +1 if the key
//! exists but did not exist below the memtable, -1 if it is deleted but existed below the memtable.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::counted::CountedMap;
use crate::limits::{MEMTABLE_LOG_CHUNK, RECORD_OVERHEAD_BYTES};
use crate::{KeyRange, Record, Revision};

/// Position in a memtable's log.
type Slot = u32;

/// A version, and the position of the key's previous version in this memtable.
#[derive(Debug)]
struct Version {
    record: Record,
    older: Option<Slot>,
}

/// Versions in memory, in the order they were written, with an index by key.
#[derive(Debug, Default)]
pub struct Memtable {
    chunks: Vec<Vec<Version>>,
    keys: CountedMap<Slot>,
    /// Keys that a version in this memtable attached to a lease. A superset of the keys attached
    /// now: readers check the newest version.
    leased: BTreeSet<(i64, Bytes)>,
    bytes: usize,
}

impl Memtable {
    /// Adds a version. Its revision must be above every other revision in the memtable.
    pub fn push(&mut self, record: Record) {
        let slot =
            Slot::try_from(self.len()).expect("a memtable is frozen long before 2^32 versions");
        if let Some(last) = self.last_revision() {
            assert!(last < record.revision, "{:?} written after {last:?}", record.revision);
        }
        self.bytes += record.key.len() + record.value.len() + RECORD_OVERHEAD_BYTES;
        if record.lease != 0 {
            self.leased.insert((record.lease, record.key.clone()));
        }
        let older = self.keys.put(record.key.clone(), slot, record.count_change());
        if self.chunks.last().is_none_or(|chunk| chunk.len() == MEMTABLE_LOG_CHUNK) {
            self.chunks.push(Vec::with_capacity(MEMTABLE_LOG_CHUNK));
        }
        let chunk = self.chunks.last_mut().expect("pushed above");
        chunk.push(Version { record, older });
    }

    /// Number of versions in the memtable.
    pub fn len(&self) -> usize {
        match self.chunks.last() {
            None => 0,
            Some(last) => (self.chunks.len() - 1) * MEMTABLE_LOG_CHUNK + last.len(),
        }
    }

    /// Whether the memtable has no version.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Approximate memory of the memtable, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The revision of the last version.
    pub fn last_revision(&self) -> Option<Revision> {
        self.chunks.last().and_then(|chunk| chunk.last()).map(|version| version.record.revision)
    }

    /// The newest version of `key`.
    pub fn latest(&self, key: &[u8]) -> Option<&Record> {
        self.keys.get(key).map(|slot| &self.version(*slot).record)
    }

    /// The newest version of `key` at or below main revision `main`.
    pub fn visible(&self, key: &[u8], main: i64) -> Option<&Record> {
        self.keys.get(key).and_then(|slot| self.visible_from(*slot, main))
    }

    /// The version written at exactly `revision`.
    pub fn at(&self, revision: Revision) -> Option<&Record> {
        let record = self.records_from(self.first_at(revision)).next()?;
        (record.revision == revision).then_some(record)
    }

    /// The versions from `from` on, ascending by revision.
    pub fn since(&self, from: Revision) -> impl Iterator<Item = &Record> {
        self.records_from(self.first_at(from))
    }

    /// For each key of the memtable from `start` on, ascending: its newest version at or below
    /// `main`, or `None` if all of its versions in this memtable are newer.
    pub fn scan(&self, start: &[u8], main: i64) -> impl Iterator<Item = (&Bytes, Option<&Record>)> {
        self.keys.iter_from(start).map(move |(key, slot)| (key, self.visible_from(*slot, main)))
    }

    /// The newest version of every key, ascending by key.
    pub fn newest(&self) -> impl Iterator<Item = &Record> {
        self.keys.iter_from(&[]).map(|(_, slot)| &self.version(*slot).record)
    }

    /// The memtable's change in the number of existing keys in `range`.
    pub fn count_change(&self, range: &KeyRange) -> i64 {
        self.keys.weight(range)
    }

    /// Keys that some version in this memtable attached to `lease`.
    pub fn lease_candidates(&self, lease: i64) -> impl Iterator<Item = &Bytes> {
        self.leased
            .range((lease, Bytes::new())..)
            .take_while(move |(id, _)| *id == lease)
            .map(|(_, key)| key)
    }

    fn version(&self, slot: Slot) -> &Version {
        let slot = slot as usize;
        &self.chunks[slot / MEMTABLE_LOG_CHUNK][slot % MEMTABLE_LOG_CHUNK]
    }

    fn visible_from(&self, newest: Slot, main: i64) -> Option<&Record> {
        let mut version = self.version(newest);
        while version.record.revision.main > main {
            version = self.version(version.older?);
        }
        Some(&version.record)
    }

    /// Number of versions below `revision`.
    fn first_at(&self, revision: Revision) -> usize {
        let chunk = self.chunks.partition_point(|chunk| {
            chunk.last().is_some_and(|version| version.record.revision < revision)
        });
        let within = self.chunks.get(chunk).map_or(0, |versions| {
            versions.partition_point(|version| version.record.revision < revision)
        });
        chunk * MEMTABLE_LOG_CHUNK + within
    }

    fn records_from(&self, first: usize) -> impl Iterator<Item = &Record> {
        let chunk = first / MEMTABLE_LOG_CHUNK;
        let within = first % MEMTABLE_LOG_CHUNK;
        let head = self.chunks.get(chunk).map_or(&[][..], |versions| &versions[within..]);
        let tail = self.chunks.iter().skip(chunk + 1).flatten();
        head.iter().chain(tail).map(|version| &version.record)
    }
}
