//! A scan of a range of keys that merges all layers and the base.

use std::collections::VecDeque;

use bytes::Bytes;

use super::patience::{Limit, Steps};
use super::stack::{SharedLayer, Stack};
use crate::base::Cursor;
use crate::limits::LAYER_SCAN_CHUNK;
use crate::{Fault, KeyRange, Record, RecordRef};

/// The keys of a range in one layer. It copies a chunk of keys at a time, so that it holds the
/// layer's lock only for microseconds. Versions written between two chunks are above the scan's
/// revision, so the chunks are consistent.
struct LayerWalk {
    layer: SharedLayer,
    chunk: VecDeque<(Bytes, Option<Record>)>,
    rest: Option<KeyRange>,
}

impl LayerWalk {
    fn new(layer: SharedLayer, range: &KeyRange) -> Self {
        Self { layer, chunk: VecDeque::new(), rest: Some(range.clone()) }
    }

    /// The next key. Does not step over it.
    fn peek(&mut self, main: i64) -> Option<&Bytes> {
        if self.chunk.is_empty()
            && let Some(range) = self.rest.take()
        {
            let layer = self.layer.read();
            for (key, record) in layer.scan(&range.start, main) {
                if range.is_past(key) {
                    break;
                }
                if self.chunk.len() == LAYER_SCAN_CHUNK {
                    let (last, _) = &self.chunk[LAYER_SCAN_CHUNK - 1];
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
    layers: Vec<LayerWalk>,
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
        let layers = stack.layers().map(|layer| LayerWalk::new(layer.clone(), range)).collect();
        let mut base = stack.base.scan(range, values)?;
        let base_ready = base.advance()?;
        let steps = patience.steps();
        Ok(Self { stack, main, layers, base, base_ready, standing: None, steps })
    }

    /// Steps to the next existing key; false at the end, or when the reader has given up.
    pub(crate) fn advance(&mut self) -> Result<bool, Fault> {
        if let Some(Standing::InBase) = self.standing.take() {
            self.base_ready = self.base.advance()?;
        }
        while self.steps.go_on() {
            let main = self.main;
            let mut lowest: Option<Bytes> = None;
            for layer in &mut self.layers {
                if let Some(key) = layer.peek(main)
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
            if self.stand_on_layer(&key)? {
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

    /// Steps over `key`, the next key of some layer. Its record comes from the newest layer with a
    /// visible version, otherwise from the base. Returns false if the key did not exist.
    fn stand_on_layer(&mut self, key: &Bytes) -> Result<bool, Fault> {
        let mut visible = None;
        for layer in &mut self.layers {
            if layer.chunk.front().is_some_and(|(at, _)| at == key) {
                let (_, record) = layer.chunk.pop_front().expect("front is there");
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

    /// Steps to the next existing key in the base, when the layers have no more keys.
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
