//! Watching: which watchers an event concerns, and how events look on the wire. Pure; the delivery
//! to streams is the API's business.
//!
//! Watchers that ask for the same thing form a group ([`Interest`]): an event is matched once for
//! each group and encoded once, however many watchers the group has.

pub mod event;
pub mod matcher;

use crate::{KeyRange, Record};

/// What a watcher wants to see of the events in its range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest {
    /// The keys watched.
    pub range: KeyRange,
    /// Whether puts are left out.
    pub no_put: bool,
    /// Whether deletions are left out.
    pub no_delete: bool,
    /// Whether events carry what the key held before.
    pub prev_kv: bool,
}

impl Interest {
    /// Whether the filters let this event through; the range is not looked at.
    pub fn lets_through(&self, record: &Record) -> bool {
        !if record.is_tombstone() { self.no_delete } else { self.no_put }
    }
}
