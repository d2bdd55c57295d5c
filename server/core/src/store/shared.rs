//! The part of the state that readers share with the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::state::RestoredState;
use crate::auth::Origin;
use crate::base::Base;
use crate::mvcc::{SharedMemtable, Stack, View};
use crate::tables::Tables;

/// The part of the state that readers share with the writer.
pub struct Shared {
    pub(super) stack: RwLock<Stack>,
    pub(super) tables: RwLock<Tables>,
    pub(super) revision: AtomicI64,
    pub(super) compacted: AtomicI64,
    /// The revision of users and roles while authentication is on, and 0 while it is off.
    pub(super) auth_revision: AtomicU64,
}

impl Shared {
    /// A view of the store at the current revision, for one request.
    pub fn view(&self) -> View {
        let stack = self.stack.read();
        // Read the revision under the lock, which excludes a freeze: `stack` then has every write
        // up to this revision.
        let revision = self.revision.load(Ordering::Acquire);
        let compacted = self.compacted.load(Ordering::Acquire);
        View::new(stack.clone(), revision, compacted)
    }

    /// The main revision of the last write.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// The compacted revision; -1 before the first compaction.
    pub fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// The revision of users and roles while authentication is on, and 0 while it is off.
    pub fn auth_revision(&self) -> u64 {
        self.auth_revision.load(Ordering::Acquire)
    }

    /// The origin of commands that this member proposes for the cluster.
    pub fn cluster_origin(&self) -> Origin {
        // Only members that know origins may be in the cluster once authentication was on.
        if self.auth_revision() == 0 { Origin::Unknown } else { Origin::Cluster }
    }

    /// Calls `read` with the small tables, under their lock.
    pub fn tables<R>(&self, read: impl FnOnce(&Tables) -> R) -> R {
        read(&self.tables.read())
    }

    /// Whether a frozen memtable waits to be flushed.
    pub fn has_frozen(&self) -> bool {
        self.stack.read().frozen.is_some()
    }

    /// Approximate memory of the memtables, in bytes.
    pub fn memtable_bytes(&self) -> usize {
        self.memtable_size().bytes
    }

    /// Size of the memtables, whose versions are not in the base yet.
    pub fn memtable_size(&self) -> MemtableSize {
        let stack = self.stack.read().clone();
        let mut size = MemtableSize::default();
        for memtable in stack.memtables() {
            let memtable = memtable.read();
            size.bytes += memtable.bytes();
            size.versions += memtable.len();
        }
        size
    }

    /// Replaces the base. `flushed` means that the new base contains the frozen memtable, which is
    /// then dropped. Existing views do not change.
    pub fn install_base(&self, base: Arc<dyn Base>, flushed: bool) {
        let mut stack = self.stack.write();
        let old = stack.clone();
        stack.base = base;
        if flushed {
            stack.frozen = None;
        }
        drop(stack);
        // Freeing a memtable takes milliseconds, so it is dropped after the lock is released.
        drop(old);
    }

    /// Whether `memtable` still waits to be flushed. A memtable that was frozen before
    /// [`Shared::install_snapshot`] does not.
    pub fn is_frozen(&self, memtable: &SharedMemtable) -> bool {
        self.stack.read().frozen.as_ref().is_some_and(|frozen| Arc::ptr_eq(frozen, memtable))
    }

    /// Replaces the whole state with another member's later state, which includes the versions in
    /// the memtables. New views show the new state at once; existing views do not change. The owner
    /// of the [`Store`](crate::Store) must call
    /// [`Store::continue_from`](crate::Store::continue_from) before it applies the next entry.
    pub fn install_snapshot(&self, base: Arc<dyn Base>, restored: &RestoredState) {
        let mut stack = self.stack.write();
        let old = std::mem::replace(&mut *stack, Stack::new(base));
        let mut tables = self.tables.write();
        *tables = restored.tables.clone();
        self.auth_revision.store(tables.auth.revision_if_enabled(), Ordering::Release);
        drop(tables);
        self.compacted.store(restored.compacted_or_none(), Ordering::Release);
        self.revision.store(restored.revision_or_first(), Ordering::Release);
        drop(stack);
        drop(old);
    }
}

/// Size of the memtables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemtableSize {
    /// Approximate memory in bytes.
    pub bytes: usize,
    /// Number of versions.
    pub versions: usize,
}
