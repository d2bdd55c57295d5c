//! The database and its writing thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use quorate_core::store::{FrozenMemtable, MemtableSize, Shared};

use super::defrag::defragment;
use super::estimate::{self, FileUsage, SpaceNeed};
use super::image::Image;
use super::metrics::Metrics;
use super::open::OpenedDatabase;
use super::partial::PartialSnapshot;
use super::receive::{ReceiveError, ReceiveState, ReceivedSnapshot, SnapshotReceiver};
use super::state::{EngineShared, EngineState, Job};
pub use super::state::{InstallDone, JobDone, Options, Sizes};
use super::worker::Worker;
use crate::OnFault;
use crate::space::Disk;

/// The database. Dropping it finishes the queued jobs, except flushes for which the disk has no
/// space, and stops the writing thread.
pub struct Engine {
    shared: Arc<EngineShared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the writing thread of `opened`, which installs each new base in `store`. `on_fault`
    /// is called when the database cannot be written; the process must then stop.
    ///
    /// # Errors
    /// The size of the file cannot be read, or the system refuses a thread.
    pub fn start(
        opened: OpenedDatabase,
        store: Arc<Shared>,
        on_fault: OnFault,
    ) -> std::io::Result<Self> {
        let meta = opened.base.meta().clone();
        let shared = Arc::new(EngineShared {
            state: Mutex::new(EngineState {
                jobs: VecDeque::new(),
                closing: false,
                deleted: meta.deleted,
                waiting_for_deletion: Vec::new(),
                defragmenting: None,
                sizes: Sizes::default(),
                usage: FileUsage::default(),
                is_short: false,
                base: opened.base,
                number: opened.number,
            }),
            wake: Condvar::new(),
            receiving: Arc::default(),
            store,
            directory: opened.directory,
            options: opened.options,
            on_fault,
            metrics: opened.metrics,
        });
        // The member serves from now on, so a full disk must not end it.
        shared.directory.full_disk.enable();
        opened.full_disk.set_in_use();
        let worker = Worker::new(shared.clone(), opened.database, opened.number, meta)?;
        let thread = std::thread::Builder::new().name("flush".to_owned());
        let thread = thread.spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The metrics of the database.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Sizes after the last flush.
    pub fn sizes(&self) -> Sizes {
        self.shared.state.lock().sizes
    }

    /// The size of the database's disk, and the free space wanted to flush `memtables`.
    ///
    /// # Errors
    /// `Unsupported` if the file system does not report its size.
    pub fn space_need(&self, memtables: MemtableSize) -> std::io::Result<SpaceNeed> {
        let disk = self.disk()?;
        let state = self.shared.state.lock();
        Ok(estimate::wanted(disk, &state.usage, memtables))
    }

    /// The size of the database's disk.
    ///
    /// # Errors
    /// `Unsupported` if the file system does not report its size.
    pub fn disk(&self) -> std::io::Result<Disk> {
        Disk::of(self.path())
    }

    /// The directory of the database.
    pub fn path(&self) -> &Path {
        self.shared.directory.path()
    }

    /// Whether a flush waits for disk space, or no flush may wait because the member is stopping.
    pub fn waits_for_space(&self) -> bool {
        let full_disk = &self.shared.directory.full_disk;
        full_disk.is_waiting() || full_disk.is_disabled() || self.shared.state.lock().is_short
    }

    /// Makes the database fail instead of waiting for disk space, now and later. Call it when the
    /// member stops.
    pub fn stop_waiting_for_space(&self) {
        self.shared.directory.full_disk.disable();
        self.shared.wake.notify_one();
    }

    /// A handle that queues flushes without keeping the database open.
    pub fn queue(&self) -> FlushQueue {
        FlushQueue(self.shared.clone())
    }

    /// An image of the last commit, to be sent to another member.
    pub fn image(&self) -> Image {
        Image::new(self.shared.state.lock().base.clone())
    }

    /// Starts to receive another member's snapshot, or continues where an earlier stream ended.
    /// `id` is [`Image::id`] of the sender's image. Only one snapshot is received at a time, by one
    /// stream: this call drops a partial snapshot with another id, and an earlier
    /// [`SnapshotReceiver`] then refuses every call.
    ///
    /// # Errors
    /// A new file for the snapshot cannot be made.
    pub fn receive(&self, id: &str) -> Result<SnapshotReceiver, ReceiveError> {
        let shared = &self.shared;
        ReceiveState::open(&shared.receiving, id, || {
            PartialSnapshot::begin(id, shared.directory.new_file(), shared.options.cache_bytes)
        })
    }

    /// Drops a partial snapshot and frees its space, if no part has arrived for `age`.
    pub fn stop_receiving(&self, age: Duration) {
        self.shared.receiving.lock().drop_old(age);
    }

    /// Replaces the database and the whole store with a received snapshot of a later state, before
    /// all queued jobs. When `done` is called, the new state is durable and readers see it, and the
    /// caller must call `Store::continue_from`. Nothing may be applied before that. Memtables of
    /// the old state are no longer flushed, and a running defragmentation fails.
    pub fn install(&self, received: ReceivedSnapshot, done: InstallDone) {
        let job = Job::Install(Box::new(received), done);
        self.shared.state.lock().jobs.push_front(job);
        self.shared.wake.notify_one();
    }

    /// Calls `look` with the directory at each step of changing the file in use.
    #[cfg(test)]
    pub(super) fn watch_switch(&self, look: super::tests::Look) {
        self.shared.directory.probe.look_with(look);
    }

    /// Calls `done` when the history that a compaction at `revision` removes is deleted. The
    /// compaction must have been flushed.
    pub fn when_deleted(&self, revision: i64, done: JobDone) {
        let mut state = self.shared.state.lock();
        if state.deleted >= revision {
            drop(state);
            done(Ok(()));
            return;
        }
        state.waiting_for_deletion.push((revision, done));
    }

    /// Copies the database into a new file without free space, and calls `done` at the end. Reads
    /// and writes continue during the copy.
    pub fn defragment(&self, done: JobDone) {
        defragment(&self.shared, Some(done));
    }
}

/// A handle that queues flushes. It does not keep the database open: a memtable that is queued
/// after the [`Engine`] was dropped is not flushed, but the log has its versions.
pub struct FlushQueue(Arc<EngineShared>);

impl FlushQueue {
    /// Queues the merge of a frozen memtable into the database. All of its versions must be durable
    /// in the log. If an installed snapshot has replaced the memtable, the memtable is not merged
    /// and `done` is dropped.
    pub fn flush(&self, frozen: FrozenMemtable, done: JobDone) {
        self.0.state.lock().jobs.push_back(Job::Flush(Box::new(frozen), done));
        self.0.wake.notify_one();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.directory.full_disk.disable();
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        crate::join(self.thread.take(), "writes the database");
    }
}
