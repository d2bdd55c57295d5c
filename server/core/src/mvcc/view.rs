//! The store as a reader sees it, at one revision.

use std::sync::Arc;

use bytes::Bytes;

use super::context::{OptionalContext, ReadContext};
use super::stack::{ChunkLimit, Stack};
use crate::{Error, Fault, KeyRange, Record, Refusal, Revision};

/// Changes read at once to compute a count at an earlier revision.
const COUNT_CHANGES_CHUNK: i64 = 1024;

/// The store at one revision, for one request. It keeps a read transaction of the database open, so
/// it must not outlive the request.
#[derive(Clone)]
pub struct View {
    pub(crate) stack: Stack,
    /// The main revision of the last visible write.
    pub(crate) revision: i64,
    /// The compacted revision; -1 before the first compaction.
    pub(crate) compacted: i64,
    pub(super) context: OptionalContext,
}

impl View {
    pub(crate) fn new(stack: Stack, revision: i64, compacted: i64) -> Self {
        Self { stack, revision, compacted, context: OptionalContext::default() }
    }

    /// The same view for a reader that may give up. Reads end early, without an error, when
    /// `context` is cancelled: the caller must ask `context` before it uses an answer.
    #[must_use]
    pub fn with_context(mut self, context: Arc<dyn ReadContext>) -> Self {
        self.context = OptionalContext::new(context);
        self
    }

    /// Records that `bytes` more bytes stay in memory until the read is answered.
    pub(crate) fn keep(&self, bytes: usize) {
        self.context.keep(bytes);
    }

    /// The flushed part of the store.
    pub fn base(&self) -> &std::sync::Arc<dyn crate::base::Base> {
        self.stack.base()
    }

    /// The main revision of the last write.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The compacted revision; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// The main revision to read at; a requested revision of 0 or less means the latest.
    pub(crate) fn resolve(&self, requested: i64) -> Result<i64, Refusal> {
        if requested > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let revision = if requested <= 0 { self.revision } else { requested };
        if revision < self.compacted {
            return Err(Refusal::Compacted);
        }
        Ok(revision)
    }

    /// The version of `key` at main revision `at`. `None` if the key did not exist, or if history
    /// does not reach back that far.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn get(&self, key: &[u8], at: i64) -> Result<Option<Record>, Fault> {
        self.stack.get(key, at)
    }

    /// Number of keys of `range` that existed at main revision `at`, which must not be below the
    /// compacted revision.
    ///
    /// Takes the count after the last write, which needs no scan, and subtracts the changes after
    /// `at`. Scans the range instead if the later revisions outnumber the keys.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count(&self, range: &KeyRange, at: i64) -> Result<i64, Fault> {
        if range.is_single() {
            return Ok(i64::from(self.stack.get(&range.start, at)?.is_some()));
        }
        let (latest, newest) = self.stack.count_latest(range)?;
        if newest.main - at > latest.max(COUNT_CHANGES_CHUNK) {
            return self.count_by_walk(range, at);
        }
        let mut count = latest;
        let mut from = Revision::start_of(at + 1);
        while from <= newest && !self.context.is_cancelled() {
            // Read the changes in chunks: one command may have changed a million keys, and a read
            // holds the lock of a memtable.
            let versions = usize::try_from(COUNT_CHANGES_CHUNK).expect("small");
            let limit = ChunkLimit { versions, bytes: usize::MAX };
            let (changes, _) = self.stack.history_chunk(from, newest.main, limit)?;
            let Some(last) = changes.last() else { break };
            from = last.revision.next();
            let counted = changes.iter().filter(|change| change.revision <= newest);
            let within = counted.filter(|change| range.contains(&change.key));
            count -= within.map(Record::count_change).sum::<i64>();
        }
        Ok(count)
    }

    /// The first `limit` versions from main revision `from` up to `to`, ascending. Returns all
    /// versions of the last main revision, so the answer can be longer than `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn history(&self, from: i64, to: i64, limit: usize) -> Result<Vec<Record>, Fault> {
        self.stack.history(from, to.min(self.revision), limit)
    }

    /// The versions from `from` up to main revision `to`, ascending, until they fill `limit`. The
    /// flag is true if they fill it, so that more may follow.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn history_chunk(
        &self,
        from: Revision,
        to: i64,
        limit: ChunkLimit,
    ) -> Result<(Vec<Record>, bool), Fault> {
        self.stack.history_chunk(from, to.min(self.revision), limit)
    }

    /// The version of the key before the transaction that wrote `record`. `None` if the key did not
    /// exist, or if that version is below the compacted revision. `None` also for a put that
    /// creates the key after a deletion in the same transaction.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn previous(&self, record: &Record) -> Result<Option<Record>, Fault> {
        let creates = !record.is_tombstone() && record.create_revision == record.revision.main;
        if creates || record.revision.main - 1 < self.compacted {
            return Ok(None);
        }
        let mut earlier = record.previous;
        while !earlier.is_none() {
            match self.stack.at(earlier)? {
                Some(found) if found.revision.main == record.revision.main => {
                    earlier = found.previous;
                }
                found => return Ok(found.filter(|found| !found.is_tombstone())),
            }
        }
        Ok(None)
    }

    /// Keys attached to `lease` at the view's revision, ascending.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn lease_keys(&self, lease: i64) -> Result<Vec<Bytes>, Fault> {
        let attached = self.stack.leased(lease, self.revision, &self.context)?;
        Ok(attached.into_iter().map(|(key, _)| key).collect())
    }

    fn count_by_walk(&self, range: &KeyRange, at: i64) -> Result<i64, Fault> {
        let mut walk = self.stack.scan(range, at, false, &self.context)?;
        let mut count = 0;
        while walk.advance()? {
            count += 1;
        }
        Ok(count)
    }

    /// Checks the revision of a range inside a transaction, where only 0 means the latest.
    pub(crate) fn check_revision(&self, requested: i64) -> Result<(), Error> {
        if requested == 0 {
            return Ok(());
        }
        if requested > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        if requested < self.compacted {
            return Err(Refusal::Compacted.into());
        }
        Ok(())
    }
}
