//! A base in ordered maps, for tests. The base on disk is compared with it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Base, Cursor, RecordHeader};
use crate::mvcc::memtable::Memtable;
use crate::{End, Fault, KeyRange, Record, RecordRef, Revision};

/// A base in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryBase {
    revision: i64,
    latest: BTreeMap<Bytes, Record>,
    history: BTreeMap<Revision, Record>,
}

impl MemoryBase {
    /// A new base: this one with the versions of `memtable`.
    #[must_use]
    pub fn merge(&self, memtable: &Memtable, revision: i64) -> Self {
        let mut next = self.clone();
        next.revision = revision;
        for record in memtable.since(Revision::NONE) {
            next.history.insert(record.revision, record.clone());
            next.latest.insert(record.key.clone(), record.clone());
        }
        next
    }

    /// A new base without the history that a compaction at `compacted` removes. Versions at exactly
    /// that revision stay until the next compaction: a watch may still start there.
    #[must_use]
    pub fn compact(&self, compacted: i64) -> Self {
        let mut next = self.clone();
        let up_to = Revision::new(compacted, u32::MAX);
        let old: Vec<Record> = next.history.range(..=up_to).map(|(_, r)| r.clone()).collect();
        for record in old {
            if record.previous.main != compacted {
                next.history.remove(&record.previous);
            }
            if record.is_tombstone() && record.revision.main < compacted {
                next.history.remove(&record.revision);
                let newest = next.latest.get(&record.key).map(|latest| latest.revision);
                if newest == Some(record.revision) {
                    next.latest.remove(&record.key);
                }
            }
        }
        next
    }
}

/// A cursor over records in memory.
struct Records<'a, I> {
    rest: I,
    at: Option<&'a Record>,
    values: bool,
}

impl<'a, I: Iterator<Item = &'a Record>> Cursor for Records<'a, I> {
    fn advance(&mut self) -> Result<bool, Fault> {
        self.at = self.rest.next();
        Ok(self.at.is_some())
    }

    fn record(&self) -> RecordRef<'_> {
        let record = self.at.expect("advance returned true").as_ref();
        if self.values { record } else { RecordRef { value: &[], ..record } }
    }
}

impl Base for MemoryBase {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn header(&self, key: &[u8]) -> Result<Option<RecordHeader>, Fault> {
        Ok(self.latest.get(key).map(RecordHeader::from))
    }

    fn latest(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        Ok(self.latest.get(key).cloned())
    }

    fn at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        Ok(self.history.get(&revision).cloned())
    }

    fn scan<'a>(
        &'a self,
        range: &KeyRange,
        values: bool,
    ) -> Result<Box<dyn Cursor + Send + 'a>, Fault> {
        let bounds = range.clone();
        let rest = self.latest.range(range.start.clone()..).map(|(_, record)| record);
        let rest = rest.take_while(move |record| !bounds.is_past(&record.key));
        Ok(Box::new(Records { rest, at: None, values }))
    }

    fn history<'a>(&'a self, from: Revision) -> Result<Box<dyn Cursor + Send + 'a>, Fault> {
        let rest = self.history.range(from..).map(|(_, record)| record);
        Ok(Box::new(Records { rest, at: None, values: true }))
    }

    fn count(&self, range: &KeyRange) -> Result<i64, Fault> {
        if matches!(&range.end, End::Before(end) if *end <= range.start) {
            return Ok(0);
        }
        let keys = self.latest.range(range.start.clone()..).map(|(_, record)| record);
        let within = keys.take_while(|record| !range.is_past(&record.key));
        let live = within.filter(|record| !record.is_tombstone()).count();
        Ok(i64::try_from(live).expect("fewer keys than i64::MAX"))
    }

    fn lease_keys(&self, lease: i64, limit: usize) -> Result<Vec<Bytes>, Fault> {
        let attached = self.latest.values().filter(|record| record.lease == lease);
        Ok(attached.take(limit).map(|record| record.key.clone()).collect())
    }
}
