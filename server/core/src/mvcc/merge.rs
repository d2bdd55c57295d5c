//! A scan of a range of keys that merges all memtables and the base.

use std::collections::VecDeque;

use bytes::Bytes;

use super::context::{OptionalContext, Steps};
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

/// The place of the current record of a scan.
enum Current {
    /// The record was copied out of a memtable, or read from history.
    Owned(Record),
    /// The cursor of the base is on the record.
    InBase,
}

/// The scan. It skips tombstones and keys that did not exist at its revision.
pub(crate) struct MergeCursor<'a> {
    stack: &'a Stack,
    main: i64,
    memtables: Vec<MemtableScan>,
    base: Box<dyn Cursor + Send + 'a>,
    base_ready: bool,
    current: Option<Current>,
    steps: Steps,
}

impl<'a> MergeCursor<'a> {
    pub(crate) fn new(
        stack: &'a Stack,
        range: &KeyRange,
        main: i64,
        values: bool,
        context: &OptionalContext,
    ) -> Result<Self, Fault> {
        let scan = |memtable: &SharedMemtable| MemtableScan::new(memtable.clone(), range);
        let memtables = stack.memtables().map(scan).collect();
        let mut base = stack.base.scan(range, values)?;
        let base_ready = base.advance()?;
        let steps = context.steps();
        Ok(Self { stack, main, memtables, base, base_ready, current: None, steps })
    }

    /// Steps to the next existing key; false at the end, or when the reader has given up.
    pub(crate) fn advance(&mut self) -> Result<bool, Fault> {
        if let Some(Current::InBase) = self.current.take() {
            self.base_ready = self.base.advance()?;
        }
        while self.steps.continues() {
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
                return self.advance_in_base();
            };
            if self.base_ready && self.base.record().key < key.as_ref() {
                if self.take_base_record()? {
                    return Ok(true);
                }
                continue;
            }
            if self.take_memtable_key(&key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The current record.
    pub(crate) fn record(&self) -> RecordRef<'_> {
        match self.current.as_ref().expect("advance returned true") {
            Current::Owned(record) => record.as_ref(),
            Current::InBase => self.base.record(),
        }
    }

    /// Steps over `key`, the next key of some memtable. Its record comes from the newest memtable
    /// with a visible version, otherwise from the base. Returns false if the key did not exist.
    fn take_memtable_key(&mut self, key: &Bytes) -> Result<bool, Fault> {
        let mut visible = None;
        for memtable in &mut self.memtables {
            if memtable.chunk.front().is_some_and(|(at, _)| at == key) {
                let (_, record) = memtable.chunk.pop_front().expect("front is there");
                visible = visible.or(record);
            }
        }
        if self.base_ready && self.base.record().key == key.as_ref() {
            if visible.is_none() {
                return self.take_base_record();
            }
            self.base_ready = self.base.advance()?;
        }
        self.current = visible.filter(|record| !record.is_tombstone()).map(Current::Owned);
        Ok(self.current.is_some())
    }

    /// Steps to the next existing key in the base, when the memtables have no more keys.
    fn advance_in_base(&mut self) -> Result<bool, Fault> {
        while self.base_ready && self.steps.continues() {
            if self.take_base_record()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the base's current key, as it was at the scan's revision, the current record. If the
    /// key did not exist then, steps over it and returns false.
    fn take_base_record(&mut self) -> Result<bool, Fault> {
        let record = self.base.record();
        if record.revision.main <= self.main {
            if !record.is_tombstone() {
                self.current = Some(Current::InBase);
                return Ok(true);
            }
            self.base_ready = self.base.advance()?;
            return Ok(false);
        }
        let earlier = self.stack.back_to(record.to_owned(), self.main)?;
        self.base_ready = self.base.advance()?;
        self.current = earlier.filter(|record| !record.is_tombstone()).map(Current::Owned);
        Ok(self.current.is_some())
    }
}
