//! The layers of the store, one over the other, read as one.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::layer::Layer;
use super::merge::Merge;
use super::patience::Limit;
use crate::base::{Base, Header};
use crate::{Fault, KeyRange, Record, Revision};

/// A layer that apply may be writing to while others read it.
pub type SharedLayer = Arc<RwLock<Layer>>;

/// How much of history is read in one go, and at least one version.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// Versions at most.
    pub versions: usize,
    /// Bytes of keys and values, above which nothing is added.
    pub bytes: usize,
}

/// Active layer over frozen layer over base. Cloning shares them: a clone keeps showing the same
/// history, plus what is written to the active layer, whatever is rotated or flushed meanwhile.
#[derive(Clone)]
pub struct Stack {
    pub(crate) active: SharedLayer,
    pub(crate) frozen: Option<SharedLayer>,
    pub(crate) base: Arc<dyn Base>,
}

impl Stack {
    /// A stack with nothing above `base`.
    pub fn new(base: Arc<dyn Base>) -> Self {
        Self { active: SharedLayer::default(), frozen: None, base }
    }

    /// The flushed part.
    pub fn base(&self) -> &Arc<dyn Base> {
        &self.base
    }

    /// The layers in memory, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &SharedLayer> {
        std::iter::once(&self.active).chain(&self.frozen)
    }

    /// What a write needs to know of the newest version of `key`.
    pub(crate) fn header(&self, key: &[u8]) -> Result<Option<Header>, Fault> {
        for layer in self.layers() {
            if let Some(record) = layer.read().latest(key) {
                return Ok(Some(Header::from(record)));
            }
        }
        self.base.header(key)
    }

    /// The version of `key` that is newest at main revision `main`, if it is not a tombstone.
    pub fn get(&self, key: &[u8], main: i64) -> Result<Option<Record>, Fault> {
        let visible = self.visible(key, main)?;
        Ok(visible.filter(|record| !record.is_tombstone()))
    }

    fn visible(&self, key: &[u8], main: i64) -> Result<Option<Record>, Fault> {
        for layer in self.layers() {
            if let Some(record) = layer.read().visible(key, main) {
                return Ok(Some(record.clone()));
            }
        }
        match self.base.latest(key)? {
            None => Ok(None),
            Some(record) => self.back_to(record, main),
        }
    }

    /// Follows `record` back through history to the version that was newest at `main`. History
    /// reaches back to the compacted revision; below it a key counts as absent.
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
    pub fn at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        for layer in self.layers() {
            if let Some(record) = layer.read().at(revision) {
                return Ok(Some(record.clone()));
            }
        }
        self.base.at(revision)
    }

    /// The keys of `range` as they were at main revision `main`, ascending. Without `values` the
    /// records' values are empty.
    pub(crate) fn scan<'a>(
        &'a self,
        range: &KeyRange,
        main: i64,
        values: bool,
        patience: &Limit,
    ) -> Result<Merge<'a>, Fault> {
        Merge::new(self, range, main, values, patience)
    }

    /// Up to about `limit` versions from main revision `from` on and not above `to`, ascending. The
    /// versions of one main revision are never divided, so the answer can be longer.
    pub fn history(&self, from: i64, to: i64, limit: usize) -> Result<Vec<Record>, Fault> {
        let is_full = |found: &[Record], next| is_complete(found, next, limit);
        self.history_until(Revision::start_of(from), to, is_full)
    }

    /// The versions from `from` on and not above main revision `to`, ascending, until they fill
    /// `portion`. True beside them: they do, and more may follow.
    pub fn history_piece(
        &self,
        from: Revision,
        to: i64,
        portion: Portion,
    ) -> Result<(Vec<Record>, bool), Fault> {
        let (mut counted, mut bytes, mut is_full) = (0, 0, false);
        let found = self.history_until(from, to, |found, _| {
            bytes += found[counted..].iter().map(Record::weight).sum::<usize>();
            counted = found.len();
            is_full = counted >= portion.versions || bytes >= portion.bytes;
            is_full
        })?;
        Ok((found, is_full))
    }

    /// The versions from `from` on and not above main revision `to`, until there are enough of them
    /// for the next one to be left out.
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
        for layer in [self.frozen.as_ref(), Some(&self.active)].into_iter().flatten() {
            for record in layer.read().since(from) {
                if record.revision.main > to || is_full(&found, record.revision) {
                    return Ok(found);
                }
                found.push(record.clone());
            }
        }
        Ok(found)
    }

    /// How many keys of `range` exist after the last write, and the revision of that write: writes
    /// go on while a reader counts, and the two belong together.
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
        // Nothing in the base is newer than its main revision, whatever the sub revision.
        let newest = newest.unwrap_or_else(|| Revision::new(self.base.revision(), u32::MAX));
        Ok((count, newest))
    }

    /// Keys attached to `lease` at main revision `main`, ascending, which is not below that of the
    /// base, with the versions that attach them: writes go on while a reader looks at one key after
    /// the other. Keys share their memory with nothing.
    /// Ends early for a reader that gives up.
    pub(crate) fn leased(
        &self,
        lease: i64,
        main: i64,
        patience: &Limit,
    ) -> Result<Vec<(Bytes, Revision)>, Fault> {
        let mut candidates = self.base.lease_keys(lease, usize::MAX)?;
        for layer in self.layers() {
            let layer = layer.read();
            // A copy: a slice would keep alive the whole log entry that wrote the key.
            candidates.extend(layer.lease_candidates(lease).map(|key| Bytes::copy_from_slice(key)));
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut attached = Vec::with_capacity(candidates.len());
        let mut steps = patience.steps();
        for key in candidates {
            if !steps.go_on() {
                break;
            }
            if let Some(header) = self.header_at(&key, main)?
                && header.lease == lease
            {
                patience.keep(size_of::<Bytes>() + 2 * key.len());
                attached.push((key, header.revision));
            }
        }
        Ok(attached)
    }

    /// How many keys are attached to `lease`, or were of late; about `limit` if there are more.
    pub(crate) fn leased_about(&self, lease: i64, limit: usize) -> Result<usize, Fault> {
        let mut count = self.base.lease_keys(lease, limit)?.len();
        for layer in self.layers() {
            count += layer.read().lease_candidates(lease).take(limit).count();
        }
        Ok(count)
    }

    /// The version of `key` that was newest at main revision `main`, as far as the layers reach
    /// back.
    fn header_at(&self, key: &[u8], main: i64) -> Result<Option<Header>, Fault> {
        for layer in self.layers() {
            if let Some(record) = layer.read().visible(key, main) {
                return Ok(Some(Header::from(record)));
            }
        }
        self.base.header(key)
    }
}

/// Whether `found` is long enough and `next` belongs to another main revision than its last.
fn is_complete(found: &[Record], next: Revision, limit: usize) -> bool {
    found.len() >= limit && found.last().is_some_and(|last| last.revision.main != next.main)
}
