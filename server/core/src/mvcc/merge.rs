//! A scan of a range of keys that merges all memtables and the base.

use std::collections::VecDeque;

use bytes::Bytes;

use super::patience::{Limit, Steps};
use super::stack::{SharedMemtable, Stack};
use crate::base::Cursor;
use crate::limits::MEMTABLE_SCAN_CHUNK;
use crate::{Fault, KeyRange, Record, RecordRef};

/// The keys of a range in one memtable. It copies a chunk of keys at a time, so that it holds the
/// memtable's lock only for microseconds. Versions written between two chunks are above the scan's
/// revision, so the chunks are consistent.
struct MemtableScan {
    memtable: SharedMemtable,
    chunk: VecDeque<(Bytes, Option<Record>)>,
    rest: Option<KeyRange>,
}

impl MemtableScan {
    fn new(memtable: SharedMemtable, range: &KeyRange) -> Self {
        Self { memtable, chunk: VecDeque::new(), rest: Some(range.clone()) }
    }

    /// The next key. Does not step over it.
    fn peek(&mut self, main: i64) -> Option<&Bytes> {
        if self.chunk.is_empty()
            && let Some(range) = self.rest.take()
        {
            let memtable = self.memtable.read();
            for (key, record) in memtable.scan(&range.start, main) {
                if range.is_past(key) {
                    break;
                }
                if self.chunk.len() == MEMTABLE_SCAN_CHUNK {
                    let (last, _) = &self.chunk[MEMTABLE_SCAN_CHUNK - 1];
                    self.rest = Some(range.after(last));
                    break;
                }
                self.chunk.push_back((key.clone(), record.cloned()));
            }
        }
        self.chunk.front().map(|(key, _)| key)
    }
}

/// Where the current record of a scan is.
enum Standing {
    Owned(Record),
    InBase,
}

/// The scan. It skips tombstones and keys that did not exist at its revision.
pub(crate) struct Merge<'a> {
    stack: &'a Stack,
    main: i64,
    memtables: Vec<MemtableScan>,
    base: Box<dyn Cursor + Send + 'a>,
    base_ready: bool,
    standing: Option<Standing>,
    steps: Steps,
}

impl<'a> Merge<'a> {
    pub(crate) fn new(
        stack: &'a Stack,
        range: &KeyRange,
        main: i64,
        values: bool,
        patience: &Limit,
    ) -> Result<Self, Fault> {
        let memtables = stack.memtables().map(|memtable| MemtableScan::new(memtable.clone(), range)).collect();
        let mut base = stack.base.scan(range, values)?;
        let base_ready = base.advance()?;
        let steps = patience.steps();
        Ok(Self { stack, main, memtables, base, base_ready, standing: None, steps })
    }

    /// Steps to the next existing key; false at the end, or when the reader has given up.
    pub(crate) fn advance(&mut self) -> Result<bool, Fault> {
        if let Some(Standing::InBase) = self.standing.take() {
            self.base_ready = self.base.advance()?;
        }
        while self.steps.go_on() {
            let main = self.main;
            let mut lowest: Option<Bytes> = None;
            for memtable in &mut self.memtables {
                if let Some(key) = memtable.peek(main)
                    && lowest.as_ref().is_none_or(|lowest| key < lowest)
                {
                    lowest = Some(key.clone());
                }
            }
            let Some(key) = lowest else {
                return self.stand_on_base();
            };
            if self.base_ready && self.base.record().key < key.as_ref() {
                if self.stand_on_base_record()? {
                    return Ok(true);
                }
                continue;
            }
            if self.stand_on_memtable(&key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The current record.
    pub(crate) fn record(&self) -> RecordRef<'_> {
        match self.standing.as_ref().expect("advance returned true") {
            Standing::Owned(record) => record.as_ref(),
            Standing::InBase => self.base.record(),
        }
    }

    /// Steps over `key`, the next key of some memtable. Its record comes from the newest memtable
    /// with a visible version, otherwise from the base. Returns false if the key did not exist.
    fn stand_on_memtable(&mut self, key: &Bytes) -> Result<bool, Fault> {
        let mut visible = None;
        for memtable in &mut self.memtables {
            if memtable.chunk.front().is_some_and(|(at, _)| at == key) {
                let (_, record) = memtable.chunk.pop_front().expect("front is there");
                visible = visible.or(record);
            }
        }
        if self.base_ready && self.base.record().key == key.as_ref() {
            if visible.is_none() {
                return self.stand_on_base_record();
            }
            self.base_ready = self.base.advance()?;
        }
        self.standing = visible.filter(|record| !record.is_tombstone()).map(Standing::Owned);
        Ok(self.standing.is_some())
    }

    /// Steps to the next existing key in the base, when the memtables have no more keys.
    fn stand_on_base(&mut self) -> Result<bool, Fault> {
        while self.base_ready && self.steps.go_on() {
            if self.stand_on_base_record()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the base's current key, as it was at the scan's revision, the current record. If the
    /// key did not exist then, steps over it and returns false.
    fn stand_on_base_record(&mut self) -> Result<bool, Fault> {
        let record = self.base.record();
        if record.revision.main <= self.main {
            if !record.is_tombstone() {
                self.standing = Some(Standing::InBase);
                return Ok(true);
            }
            self.base_ready = self.base.advance()?;
            return Ok(false);
        }
        let earlier = self.stack.back_to(record.to_owned(), self.main)?;
        self.base_ready = self.base.advance()?;
        self.standing = earlier.filter(|record| !record.is_tombstone()).map(Standing::Owned);
        Ok(self.standing.is_some())
    }
}
