//! The flushed part of the state, below the memtables.
//!
//! A [`Base`] is the immutable flushed state at one revision. Apply never writes to it; a flush
//! makes a new base from the old base and a frozen memtable. `server/storage` implements it over
//! redb and [`memory::MemoryBase`] over ordered maps; a test compares the two.
//!
//! ```text
//!   active memtable  versions since the last freeze       written by apply
//!   frozen memtable  versions being flushed                 read only
//!   base             latest:  key      -> newest version    read only
//!                    history: revision -> version
//! ```

pub mod memory;

use bytes::Bytes;

use crate::{Fault, KeyRange, Record, RecordRef, Revision};

/// The newest version of a key without its value: all that a write needs of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The revision that wrote the version.
    pub revision: Revision,
    /// Main revision of the key's creation.
    pub create_revision: i64,
    /// Number of versions since the creation; 0 in a tombstone.
    pub version: i64,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
}

impl From<&Record> for RecordHeader {
    fn from(record: &Record) -> Self {
        Self {
            revision: record.revision,
            create_revision: record.create_revision,
            version: record.version,
            lease: record.lease,
        }
    }
}

/// An iterator over records in ascending order.
pub trait Cursor {
    /// Steps to the next record; false when there is none.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn advance(&mut self) -> Result<bool, Fault>;

    /// The current record.
    ///
    /// # Panics
    /// If `advance` was not called or returned false.
    fn record(&self) -> RecordRef<'_>;
}

/// The flushed state at one revision.
///
/// Invariants: `latest` holds one record for every key that exists at [`Base::revision`], and the
/// tombstone of a deleted key until it is compacted. History holds every version above the
/// compacted revision, and of each key the newest version at or below it.
pub trait Base: Send + Sync {
    /// The last main revision in the base.
    fn revision(&self) -> i64;

    /// The newest version of `key` without its value.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn header(&self, key: &[u8]) -> Result<Option<RecordHeader>, Fault>;

    /// The newest version of `key`.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn latest(&self, key: &[u8]) -> Result<Option<Record>, Fault>;

    /// The version written at exactly this revision, if it is still kept.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn at(&self, revision: Revision) -> Result<Option<Record>, Fault>;

    /// The newest versions of the keys in `range`, ascending by key, including tombstones. Without
    /// `values` the records' values are empty.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn scan<'a>(
        &'a self,
        range: &KeyRange,
        values: bool,
    ) -> Result<Box<dyn Cursor + Send + 'a>, Fault>;

    /// The versions from `from` on, ascending by revision.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn history<'a>(&'a self, from: Revision) -> Result<Box<dyn Cursor + Send + 'a>, Fault>;

    /// Number of keys that exist in `range`. Does not scan the whole range.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn count(&self, range: &KeyRange) -> Result<i64, Fault>;

    /// The first `limit` keys, ascending, whose newest version is attached to `lease`.
    ///
    /// # Errors
    /// The flushed state cannot be read.
    fn lease_keys(&self, lease: i64, limit: usize) -> Result<Vec<Bytes>, Fault>;
}
