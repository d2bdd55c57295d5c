//! The state of a store outside its keys, as a flush writes it and a start reads it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::Revision;
use crate::mvcc::SharedMemtable;
use crate::tables::{Lease, Tables};

/// Position of an entry in the Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    /// Term of the leader that wrote the entry.
    pub term: u64,
    /// Index of the entry.
    pub index: u64,
}

/// The state that a store needs at start in addition to its base.
#[derive(Clone, Debug, Default)]
pub struct RestoredState {
    /// Main revision of the last write; 0 for a new store.
    pub revision: i64,
    /// The compacted revision, if there is one.
    pub compacted: Option<i64>,
    /// The last log entry contained in the base.
    pub applied: Option<LogPosition>,
    /// The Raft membership of the base, opaque here.
    pub membership: Bytes,
    /// The small tables.
    pub tables: Tables,
}

impl RestoredState {
    pub(super) fn revision_or_first(&self) -> i64 {
        self.revision.max(Revision::EMPTY_STORE)
    }

    pub(super) fn compacted_or_none(&self) -> i64 {
        self.compacted.unwrap_or(-1)
    }
}

/// A frozen memtable and the other state at its last revision: a flush writes all of it in one
/// transaction.
pub struct FrozenMemtable {
    /// The versions.
    pub memtable: SharedMemtable,
    /// Main revision of the last write.
    pub revision: i64,
    /// The compacted revision; -1 for none.
    pub compacted: i64,
    /// The last log entry applied.
    pub applied: Option<LogPosition>,
    /// The Raft membership, opaque here.
    pub membership: Bytes,
    /// Leases granted, changed or ended (`None`) since the last freeze.
    pub leases: BTreeMap<i64, Option<Lease>>,
    /// All small tables except the leases.
    pub tables: Tables,
}
