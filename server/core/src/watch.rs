//! Watches: matching events to watchers and encoding events. The API delivers them to streams.
//!
//! Watchers with the same [`Interest`] form a group: an event is matched and encoded once for each
//! group, however many watchers the group has.

pub mod event;
pub mod matcher;

use crate::{KeyRange, Record};

/// The range and the options of a watcher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    /// The keys watched.
    pub range: KeyRange,
    /// Whether the watcher skips puts.
    pub no_put: bool,
    /// Whether the watcher skips deletions.
    pub no_delete: bool,
    /// Whether events have the key's previous version.
    pub prev_kv: bool,
}

impl Interest {
    /// Whether the filters let the event of `record` through. Does not check the range.
    pub fn lets_through(&self, record: &Record) -> bool {
        !if record.is_tombstone() { self.no_delete } else { self.no_put }
    }
}
