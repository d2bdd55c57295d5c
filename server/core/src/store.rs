//! The state of the state machine, and writes of single keys.

mod shared;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::auth::AuthCommand;
use crate::base::Base;
use crate::mvcc::{SharedMemtable, Stack, View};
use crate::planted::{self, Mistake};
use crate::tables::Tables;
use crate::{Fault, Record, Refusal, Revision, Tally};
pub use shared::{MemtableSize, Shared};
pub use state::{FrozenMemtable, LogPosition, RestoredState};

/// The writes of a command so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes {
    /// The main revision that the writes share.
    pub(crate) main: i64,
    /// Number of the writes.
    pub(crate) count: u32,
}

/// The state machine. One task owns it and applies committed commands to it in log order.
pub struct Store {
    shared: Arc<Shared>,
    /// The stack that the running batch reads and writes; `None` between batches. If it were kept
    /// between batches, the database could not reuse the pages of the old base, and a compaction
    /// that rewrites pages would make the file grow.
    batch: Option<Stack>,
    active: SharedMemtable,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    pub(crate) applied: Option<LogPosition>,
    membership: Bytes,
    changed_leases: BTreeSet<i64>,
    pub(crate) tally: Tally,
}

impl Store {
    /// A store over `base` with the state in `restored`.
    pub fn new(base: Arc<dyn Base>, restored: RestoredState) -> Self {
        let stack = Stack::new(base);
        let revision = restored.revision_or_first();
        let compacted = restored.compacted_or_none();
        let auth_revision = restored.tables.auth.revision_if_enabled();
        let shared = Arc::new(Shared {
            stack: RwLock::new(stack.clone()),
            auth_revision: AtomicU64::new(auth_revision),
            tables: RwLock::new(restored.tables),
            revision: AtomicI64::new(revision),
            compacted: AtomicI64::new(compacted),
        });
        Self {
            shared,
            active: stack.active.clone(),
            batch: Some(stack),
            revision,
            compacted,
            applied: restored.applied,
            membership: restored.membership,
            changed_leases: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// The part of the state that readers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The last log entry applied.
    pub fn applied(&self) -> Option<LogPosition> {
        self.applied
    }

    /// The Raft membership as of the last applied entry.
    pub fn membership(&self) -> &Bytes {
        &self.membership
    }

    /// Starts a batch of entries with the current base and memtables. Call this before each batch:
    /// a flush may have installed a new base since the last batch.
    pub fn begin_batch(&mut self) {
        let stack = self.shared.stack.read().clone();
        self.active = stack.active.clone();
        self.batch = Some(stack);
    }

    /// Releases the batch's base and memtables. Call this after each batch.
    pub fn end_batch(&mut self) {
        self.batch = None;
    }

    pub(crate) fn stack(&self) -> &Stack {
        self.batch.as_ref().expect("commands are applied in batches")
    }

    /// Continues from the state that [`Shared::install_snapshot`] installed: the next entry to
    /// apply is the one after `restored.applied`.
    pub fn continue_from(&mut self, restored: RestoredState) {
        self.begin_batch();
        self.revision = restored.revision_or_first();
        self.compacted = restored.compacted_or_none();
        self.applied = restored.applied;
        self.membership = restored.membership;
        self.changed_leases.clear();
    }

    /// Returns the tally of the operations since the last call, and starts a new tally from 0.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Approximate memory of the active memtable, in bytes.
    pub fn active_bytes(&self) -> usize {
        self.active.read().bytes()
    }

    /// Applies an entry that changes only the position in the log.
    pub fn apply_blank(&mut self, at: LogPosition) {
        self.advance(at);
    }

    /// Applies an entry that changes the Raft membership from the ids `before` to the ids
    /// `members`. Drops attributes and alarms of removed members and records their ids as removed.
    pub fn apply_membership(
        &mut self,
        at: LogPosition,
        membership: Bytes,
        before: &BTreeSet<u64>,
        members: &BTreeSet<u64>,
    ) {
        self.membership = membership;
        self.change_tables([], |tables| {
            tables.removed.extend(before.difference(members));
            // A removed member becomes a member again only if it is forced to be the only one.
            tables.removed.retain(|id| !members.contains(id));
            tables.members.retain(|id, _| members.contains(id));
            tables.alarms.retain(|(_, id)| members.contains(id) || !before.contains(id));
        });
        self.advance(at);
    }

    /// Freezes the active memtable and opens a new one over it. Returns `None` while an earlier
    /// frozen memtable waits to be flushed, and between [`Shared::install_snapshot`] and
    /// [`Store::continue_from`].
    pub fn freeze(&mut self) -> Option<FrozenMemtable> {
        let mut stack = self.shared.stack.write();
        let is_mine = Arc::ptr_eq(&stack.active, &self.active);
        if stack.frozen.is_some() || !is_mine {
            return None;
        }
        let memtable = std::mem::take(&mut stack.active);
        stack.frozen = Some(memtable.clone());
        self.active = stack.active.clone();
        if let Some(batch) = &mut self.batch {
            *batch = stack.clone();
        }
        drop(stack);
        let tables = self.shared.tables.read();
        let changed = std::mem::take(&mut self.changed_leases);
        let leases = changed.into_iter().map(|id| (id, tables.leases.get(&id).copied())).collect();
        Some(FrozenMemtable {
            memtable,
            revision: self.revision,
            compacted: self.compacted,
            applied: self.applied,
            membership: self.membership.clone(),
            leases,
            tables: Tables {
                leases: BTreeMap::new(),
                alarms: tables.alarms.clone(),
                members: tables.members.clone(),
                removed: tables.removed.clone(),
                auth: tables.auth.clone(),
            },
        })
    }

    /// A view for the running command. The view includes the command's own writes.
    pub(crate) fn view(&self, changes: Changes) -> View {
        let revision = if changes.count > 0 { changes.main } else { self.revision };
        View::new(self.stack().clone(), revision, self.compacted)
    }

    /// Starts the writes of a command.
    pub(crate) fn begin(&self) -> Changes {
        Changes { main: self.revision + 1, count: 0 }
    }

    /// Ends the writes of a command: all of them become visible to readers at once.
    pub(crate) fn commit(&mut self, changes: Changes) {
        if changes.count > 0 {
            self.revision = changes.main;
            self.shared.revision.store(changes.main, Ordering::Release);
        }
    }

    /// Writes one key.
    pub(crate) fn write_put(
        &self,
        changes: &mut Changes,
        key: Bytes,
        value: Bytes,
        lease: i64,
    ) -> Result<(), Fault> {
        let header = self.stack().header(&key)?;
        let previous = header.map_or(Revision::NONE, |header| header.revision);
        let (create_revision, version) = match header {
            Some(header) if header.version > 0 => (header.create_revision, header.version + 1),
            _ => (changes.main, 1),
        };
        let is_wrong = planted::in_this_process(Mistake::RandomApply, changes.main);
        let version = if is_wrong { version + 1 } else { version };
        let revision = next_revision(changes);
        let record = Record { key, value, revision, create_revision, version, lease, previous };
        self.active.write().push(record);
        Ok(())
    }

    /// Deletes one key, which must exist; `previous` is the revision of its newest version. The
    /// memtable keeps `key`, so `key` should not share a larger allocation.
    pub(crate) fn write_delete(&self, changes: &mut Changes, key: Bytes, previous: Revision) {
        let record = Record {
            key,
            value: Bytes::new(),
            revision: next_revision(changes),
            create_revision: 0,
            version: 0,
            lease: 0,
            previous,
        };
        self.active.write().push(record);
    }

    /// Changes the small tables. `leases` are the ids of changed leases, which the next flush
    /// writes.
    pub(crate) fn change_tables<R>(
        &mut self,
        leases: impl IntoIterator<Item = i64>,
        change: impl FnOnce(&mut Tables) -> R,
    ) -> R {
        self.changed_leases.extend(leases);
        change(&mut self.shared.tables.write())
    }

    /// Changes users or roles.
    pub(crate) fn change_auth(&mut self, command: &AuthCommand) -> Result<(), Refusal> {
        let mut tables = self.shared.tables.write();
        Arc::make_mut(&mut tables.auth).apply(command)?;
        // The revision is set under the lock, so that a reader of this revision finds these users
        // and roles, or later ones.
        let revision = tables.auth.revision_if_enabled();
        self.shared.auth_revision.store(revision, Ordering::Release);
        Ok(())
    }

    /// Sets the compacted revision.
    pub(crate) fn set_compacted(&mut self, revision: i64) {
        self.compacted = revision;
        self.shared.compacted.store(revision, Ordering::Release);
    }

    /// Moves to the next position in the log.
    ///
    /// # Panics
    /// If `at` does not follow the last applied entry.
    pub(crate) fn advance(&mut self, at: LogPosition) {
        if let Some(applied) = self.applied {
            assert_eq!(at.index, applied.index + 1, "entry {at:?} applied after {applied:?}");
        }
        self.applied = Some(at);
    }
}

fn next_revision(changes: &mut Changes) -> Revision {
    let revision = Revision::new(changes.main, changes.count);
    changes.count += 1;
    revision
}
