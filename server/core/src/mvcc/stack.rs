//! The memtables of the store and the base below them, read as one store.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::context::OptionalContext;
use super::memtable::Memtable;
use super::merge::MergeCursor;
use crate::base::{Base, RecordHeader};
use crate::{Fault, KeyRange, Record, Revision};

/// A memtable that readers can use while the state machine writes to it.
pub type SharedMemtable = Arc<RwLock<Memtable>>;

/// How much of history to read at once. A read returns at least one version.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimit {
    /// Maximum number of versions.
    pub versions: usize,
    /// Bytes of keys and values at which the read ends.
    pub bytes: usize,
}

/// The active memtable, the frozen memtable below it, and the base below both. A clone reads the
/// same memtables and base. Later freezes and flushes do not affect it, but it shows later writes
/// to its active memtable.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) active: SharedMemtable,
    pub(crate) frozen: Option<SharedMemtable>,
    pub(crate) base: Arc<dyn Base>,
}

impl Stack {
    /// A stack with an empty active memtable over `base`.
    pub(crate) fn new(base: Arc<dyn Base>) -> Self {
        Self { active: SharedMemtable::default(), frozen: None, base }
    }

    /// The base: the flushed versions.
    pub(crate) fn base(&self) -> &Arc<dyn Base> {
        &self.base
    }

    /// The memtables, newest first.
    pub(crate) fn memtables(&self) -> impl Iterator<Item = &SharedMemtable> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// The newest version of `key` without its value.
    pub(crate) fn header(&self, key: &[u8]) -> Result<Option<RecordHeader>, Fault> {
        for memtable in self.memtables() {
            if let Some(record) = memtable.read().latest(key) {
                return Ok(Some(RecordHeader::from(record)));
            }
        }
        self.base.header(key)
    }

    /// The newest version of `key` at main revision `main`, unless it is a tombstone.
    pub(crate) fn get(&self, key: &[u8], main: i64) -> Result<Option<Record>, Fault> {
        let visible = self.visible(key, main)?;
        Ok(visible.filter(|record| !record.is_tombstone()))
    }

    fn visible(&self, key: &[u8], main: i64) -> Result<Option<Record>, Fault> {
        for memtable in self.memtables() {
            if let Some(record) = memtable.read().visible(key, main) {
                return Ok(Some(record.clone()));
            }
        }
        match self.base.latest(key)? {
            None => Ok(None),
            Some(record) => self.back_to(record, main),
        }
    }

    /// Goes back from `record` through its `previous` versions to the one that was the newest at
    /// main revision `main`. `None` if the key did not exist then, or if history does not reach
    /// back that far.
    pub(crate) fn back_to(&self, mut record: Record, main: i64) -> Result<Option<Record>, Fault> {
        while record.revision.main > main {
            if record.previous.is_none() {
                return Ok(None);
            }
            match self.base.at(record.previous)? {
                None => return Ok(None),
                Some(previous) => record = previous,
            }
        }
        Ok(Some(record))
    }

    /// The version written at exactly `revision`, if it is still kept.
    pub(crate) fn at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        for memtable in self.memtables() {
            if let Some(record) = memtable.read().at(revision) {
                return Ok(Some(record.clone()));
            }
        }
        self.base.at(revision)
    }

    /// Scans the keys of `range` at main revision `main`, ascending. Without `values` the records'
    /// values may be empty.
    pub(crate) fn scan<'a>(
        &'a self,
        range: &KeyRange,
        main: i64,
        values: bool,
        context: &OptionalContext,
    ) -> Result<MergeCursor<'a>, Fault> {
        MergeCursor::new(self, range, main, values, context)
    }

    /// The first `limit` versions from main revision `from` up to `to`, ascending. Returns all
    /// versions of the last main revision, so the answer can be longer than `limit`.
    pub(crate) fn history(&self, from: i64, to: i64, limit: usize) -> Result<Vec<Record>, Fault> {
        let is_full = |found: &[Record], next| is_complete(found, next, limit);
        self.history_until(Revision::start_of(from), to, is_full)
    }

    /// The versions from `from` up to main revision `to`, ascending, until they fill `limit`. If
    /// they fill it, the flag is true: more versions may follow.
    pub(crate) fn history_chunk(
        &self,
        from: Revision,
        to: i64,
        limit: ChunkLimit,
    ) -> Result<(Vec<Record>, bool), Fault> {
        let mut counted = 0;
        let mut bytes = 0;
        let mut is_full = false;
        let found = self.history_until(from, to, |found, _| {
            bytes += found[counted..].iter().map(Record::weight).sum::<usize>();
            counted = found.len();
            is_full = counted >= limit.versions || bytes >= limit.bytes;
            is_full
        })?;
        Ok((found, is_full))
    }

    /// The versions from `from` up to main revision `to`, ascending. Before each version, calls
    /// `is_full` with the versions so far and the revision of that version, and ends if the answer
    /// is true.
    fn history_until(
        &self,
        from: Revision,
        to: i64,
        mut is_full: impl FnMut(&[Record], Revision) -> bool,
    ) -> Result<Vec<Record>, Fault> {
        let mut found = Vec::new();
        if from.main <= self.base.revision() {
            let mut cursor = self.base.history(from)?;
            while cursor.advance()? {
                let record = cursor.record();
                if record.revision.main > to || is_full(&found, record.revision) {
                    return Ok(found);
                }
                found.push(record.to_owned());
            }
        }
        for memtable in [self.frozen.as_ref(), Some(&self.active)].into_iter().flatten() {
            for record in memtable.read().since(from) {
                if record.revision.main > to || is_full(&found, record.revision) {
                    return Ok(found);
                }
                found.push(record.clone());
            }
        }
        Ok(found)
    }

    /// Number of existing keys in `range`, and the revision of the last write counted. Writes
    /// continue during the count, so the number is right only at that revision.
    pub(crate) fn count_latest(&self, range: &KeyRange) -> Result<(i64, Revision), Fault> {
        let (mut count, newest) = {
            let active = self.active.read();
            (active.count_change(range), active.last_revision())
        };
        let mut newest = newest;
        if let Some(frozen) = &self.frozen {
            let frozen = frozen.read();
            count += frozen.count_change(range);
            newest = newest.or_else(|| frozen.last_revision());
        }
        if !range.is_empty() {
            count += self.base.count(range)?;
        }
        // The sub revision of the base's last write is not known. `u32::MAX` is at or above it.
        let newest = newest.unwrap_or_else(|| Revision::new(self.base.revision(), u32::MAX));
        Ok((count, newest))
    }

    /// Keys attached to `lease` at main revision `main`, ascending, each with the revision of its
    /// newest version at `main`. `main` must not be below the revision of the base. Versions
    /// written during the call are above `main` and do not matter. Each key has its own allocation.
    /// Ends early if the reader has given up.
    pub(crate) fn leased(
        &self,
        lease: i64,
        main: i64,
        context: &OptionalContext,
    ) -> Result<Vec<(Bytes, Revision)>, Fault> {
        let mut candidates = self.base.lease_keys(lease, usize::MAX)?;
        for memtable in self.memtables() {
            let memtable = memtable.read();
            // Copy the key: a slice would keep the memory of the key's whole log entry.
            let keys = memtable.lease_candidates(lease);
            candidates.extend(keys.map(|key| Bytes::copy_from_slice(key)));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut attached = Vec::with_capacity(candidates.len());
        let mut steps = context.steps();
        for key in candidates {
            if !steps.continues() {
                break;
            }
            if let Some(header) = self.header_at(&key, main)?
                && header.lease == lease
            {
                context.keep(size_of::<Bytes>() + 2 * key.len());
                attached.push((key, header.revision));
            }
        }
        Ok(attached)
    }

    /// Approximate number of keys attached to `lease`. Includes keys that were attached recently
    /// but no longer are, and stops counting at about `limit`.
    pub(crate) fn leased_about(&self, lease: i64, limit: usize) -> Result<usize, Fault> {
        let mut count = self.base.lease_keys(lease, limit)?.len();
        for memtable in self.memtables() {
            count += memtable.read().lease_candidates(lease).take(limit).count();
        }
        Ok(count)
    }

    /// The newest version of `key` at main revision `main`, which must not be below the revision of
    /// the base.
    fn header_at(&self, key: &[u8], main: i64) -> Result<Option<RecordHeader>, Fault> {
        for memtable in self.memtables() {
            if let Some(record) = memtable.read().visible(key, main) {
                return Ok(Some(RecordHeader::from(record)));
            }
        }
        self.base.header(key)
    }
}

/// Whether `found` has at least `limit` versions and `next` has a different main revision from the
/// last of them.
fn is_complete(found: &[Record], next: Revision, limit: usize) -> bool {
    found.len() >= limit && found.last().is_some_and(|last| last.revision.main != next.main)
}
