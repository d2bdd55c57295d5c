//! The thread that writes the database.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quorate_core::Fault;
use quorate_core::mvcc::SharedMemtable;
use quorate_core::store::FrozenMemtable;
use redb::Database;

use super::defrag::{Copy, check_room};
use super::engine::{
    Done, EngineShared, Installed, Job, Sizes, defragment, end_defragmentation, superseded,
};
use super::file::NewFile;
use super::incoming::Received;
use super::merge::{begin, merge};
use super::meta::Meta;
use super::room::Content;
use super::snapshot::Snapshot;
use super::{compact, fault, room};
use crate::space::{Disk, LOOK_PAUSE, is_full};

/// Pause between two checks whether readers still hold replaced memtables and snapshots.
const LET_GO_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two checks whether the file is too large for its rows.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Shortest pause between two copies that make the file smaller.
const SHRINK_PAUSE: Duration = Duration::from_secs(10);
/// The pause is also at least this many times the duration of the last copy.
const SHRINK_TIMES: u32 = 10;

/// The state of the writing thread.
pub(super) struct Worker {
    shared: Arc<EngineShared>,
    database: Arc<Database>,
    number: u64,
    meta: Meta,
    /// Start of the running deletion of compacted history.
    walk: Option<Instant>,
    /// Flushed memtables that readers may still hold. This thread drops the last reference, because
    /// freeing a memtable takes tens of milliseconds, which would delay any other thread's work.
    flushed: Vec<SharedMemtable>,
    /// Replaced snapshots that readers may still hold. Dropping the last snapshot of a deleted file
    /// frees the file's space, which takes hundreds of milliseconds.
    replaced: Vec<Arc<Snapshot>>,
    /// Whether the last flush replaced pages that are not free yet.
    has_garbage: bool,
    /// Earliest time of the next copy that makes the file smaller.
    shrink_after: Instant,
    /// The content of the file after its last copy.
    copied: Option<Content>,
}

/// The next step of the thread.
enum Next {
    Job(Job),
    /// A step of deleting compacted history that reads at most this number of versions.
    Compact(usize),
    Stop,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<EngineShared>,
        database: Arc<Database>,
        number: u64,
        meta: Meta,
    ) -> std::io::Result<Self> {
        let mut worker = Self {
            shared,
            database,
            number,
            meta,
            walk: None,
            flushed: Vec::new(),
            replaced: Vec::new(),
            has_garbage: false,
            shrink_after: Instant::now() + SHRINK_PAUSE,
            copied: None,
        };
        worker.publish_sizes()?;
        Ok(worker)
    }

    pub(super) fn run(mut self) {
        loop {
            let result = match self.next() {
                Next::Job(Job::Flush(frozen, done)) => self.flush(*frozen, done),
                Next::Job(Job::FinishCopy(copy, number)) => self.finish_copy(copy, number),
                Next::Job(Job::Install(received, done)) => self.replace(*received, done),
                Next::Compact(rows) => self.compact(rows),
                Next::Stop => return,
            };
            if let Err(error) = result {
                // If the member stops and gave up waiting for space, the error is no fault: the log
                // has everything that is not flushed.
                if self.gave_up() {
                    tracing::warn!(%error, "the last memtables are not flushed; the log has them");
                } else {
                    self.shared.fail(&error);
                }
                return;
            }
        }
    }

    /// Frees flushed memtables and replaced snapshots that no reader holds any more.
    fn let_go(&mut self) {
        self.flushed.retain(|memtable| Arc::strong_count(memtable) > 1);
        self.replaced.retain(|base| Arc::strong_count(base) > 1);
        let readers = 1 + i64::try_from(self.replaced.len()).unwrap_or(i64::MAX - 1);
        self.shared.metrics.readers.set(readers);
    }

    /// Whether nothing may wait for disk space any more, because the member stops.
    fn gave_up(&self) -> bool {
        self.shared.directory.waiting.is_over()
    }

    fn next(&mut self) -> Next {
        loop {
            self.let_go();
            self.shrink();
            // If the file system does not report its free space, the write itself finds out.
            let disk = Disk::of(self.shared.directory.path()).ok();
            let mut inner = self.shared.inner.lock();
            let content = inner.content;
            let fits = |job: &Job| match job {
                Job::Flush(frozen, _) => disk.is_none_or(|disk| {
                    disk.free >= room::flush(frozen.memtable.read().bytes(), &content)
                }),
                Job::FinishCopy(..) | Job::Install(..) => true,
            };
            let next = inner.jobs.iter().position(fits);
            let is_short = next.is_none() && !inner.jobs.is_empty();
            let was_short = std::mem::replace(&mut inner.is_short, is_short);
            if let Some(job) = next.and_then(|next| inner.jobs.remove(next)) {
                return Next::Job(job);
            }
            if inner.closing {
                return Next::Stop;
            }
            if compact::is_due(&self.meta) && inner.defragmenting.is_none() {
                let free = disk.map_or(u64::MAX, |disk| disk.free);
                if let Some(rows) = room::compaction(free, &content) {
                    return Next::Compact(rows);
                }
            }
            if is_short && !was_short {
                tell_shortage(&self.shared, disk);
            }
            if is_short || compact::is_due(&self.meta) {
                self.shared.wake.wait_for(&mut inner, LOOK_PAUSE);
            } else if self.flushed.is_empty() && self.replaced.is_empty() {
                self.shared.wake.wait_for(&mut inner, IDLE_PAUSE);
            } else {
                self.shared.wake.wait_for(&mut inner, LET_GO_PAUSE);
            }
        }
    }

    /// Starts a copy that makes the file smaller, if most of the file is free, this thread has
    /// nothing else to do, and the disk has space for the copy.
    fn shrink(&mut self) {
        let inner = self.shared.inner.lock();
        let is_busy = !inner.jobs.is_empty() || inner.closing || inner.defragmenting.is_some();
        let meta = inner.base.meta();
        if is_busy || compact::is_due(meta) || Instant::now() < self.shrink_after {
            return;
        }
        if !inner.content.is_wasteful(self.copied) {
            return;
        }
        self.shrink_after = Instant::now() + SHRINK_PAUSE;
        let has_room = check_room(self.shared.directory.path(), meta).is_ok();
        let Sizes { allocated, in_use } = inner.sizes;
        drop(inner);
        if has_room {
            tracing::info!(allocated, in_use, "defragmenting the database: most of it is free");
            defragment(&self.shared, None);
        }
    }

    /// Frees the pages that the last flush replaced. redb itself would free them only at the end of
    /// the next flush, and the file would grow by the replaced pages of two flushes.
    fn free_replaced(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.has_garbage) {
            begin(&self.database)?.commit().map_err(fault)?;
        }
        Ok(())
    }

    fn flush(&mut self, frozen: FrozenMemtable, done: Done) -> Result<(), Fault> {
        if !self.shared.store.is_frozen(&frozen.memtable) {
            tracing::debug!(revision = frozen.revision, "not flushed: a snapshot is installed");
            return Ok(());
        }
        let started = Instant::now();
        self.free_replaced()?;
        let base = self.shared.inner.lock().base.clone();
        let txn = begin(&self.database)?;
        merge(&txn, &frozen, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.install(true)?;
        self.has_garbage = true;
        let seconds = started.elapsed().as_secs_f64();
        tracing::debug!(revision = frozen.revision, seconds, "flushed");
        self.flushed.push(frozen.memtable);
        done(Ok(()));
        Ok(())
    }

    fn compact(&mut self, rows: usize) -> Result<(), Fault> {
        let started = Instant::now();
        let walk = *self.walk.get_or_insert(started);
        let base = self.shared.inner.lock().base.clone();
        let txn = begin(&self.database)?;
        let deleted = compact::step(&txn, rows, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.shared.metrics.compacted_keys.inc_by(deleted);
        self.install(false)?;
        self.measure_compaction(started, walk);
        self.tell_deleted();
        Ok(())
    }

    /// Calls the callbacks that wait for history that is now deleted.
    fn tell_deleted(&self) {
        let mut inner = self.shared.inner.lock();
        inner.deleted = self.meta.deleted;
        let (ready, waiting) = std::mem::take(&mut inner.waiting_for_deletion)
            .into_iter()
            .partition(|(revision, _)| *revision <= self.meta.deleted);
        inner.waiting_for_deletion = waiting;
        drop(inner);
        let ready: Vec<(i64, Done)> = ready;
        for (_, done) in ready {
            done(Ok(()));
        }
    }

    /// Records the metrics of a step of deleting compacted history.
    fn measure_compaction(&mut self, started: Instant, walk: Instant) {
        let metrics = &self.shared.metrics;
        metrics.compaction_pause.observe(started.elapsed().as_secs_f64() * 1e3);
        if compact::has_begun(&self.meta) {
            return;
        }
        self.walk = None;
        metrics.compaction_total.observe(walk.elapsed().as_secs_f64() * 1e3);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        metrics.compaction_last.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Finishes a copy and switches to its file.
    fn finish_copy(&mut self, copy: Copy, source: u64) -> Result<(), Fault> {
        let finished = if source == self.number {
            let base = self.shared.inner.lock().base.clone();
            copy.finish(&base)
        } else {
            Err(superseded())
        };
        let (database, file) = match finished {
            Ok(copy) => copy,
            Err(error) => {
                end_defragmentation(&self.shared, Err(error.to_string()));
                return Ok(());
            }
        };
        let named = self.name(&file);
        if let Err(error) = named.as_ref()
            && is_full(error)
        {
            // `CURRENT` did not change, so the old file stays in use.
            end_defragmentation(&self.shared, Err(error.to_string()));
            return Ok(());
        }
        let old = self.switch(database, file);
        named.map_err(fault)?;
        self.has_garbage = false;
        self.install(false)?;
        self.meta = self.shared.inner.lock().base.meta().clone();
        self.shared.directory.remove(old).map_err(fault)?;
        let inner = self.shared.inner.lock();
        self.copied = Some(inner.content);
        let took = inner.defragmenting.as_ref().map_or(Duration::ZERO, |(at, _)| at.elapsed());
        drop(inner);
        self.shrink_after = Instant::now() + SHRINK_PAUSE.max(took * SHRINK_TIMES);
        end_defragmentation(&self.shared, Ok(()));
        Ok(())
    }

    /// Installs a received state in place of the database and the store.
    fn replace(&mut self, received: Received, done: Installed) -> Result<(), Fault> {
        if received.applied() <= self.meta.applied {
            let theirs = received.applied();
            let ours = self.meta.applied;
            drop(received);
            done(Err(format!("the received state ends at {theirs:?}, the database at {ours:?}")));
            return Ok(());
        }
        let Received { base, restored, database, file } = received;
        let directory = &self.shared.directory;
        let named = directory.waiting.until_there_is_room(directory.path(), 1, || self.name(&file));
        let old = self.switch(database, file);
        named.map_err(fault)?;
        self.has_garbage = false;
        self.meta = base.meta().clone();
        let replaced = {
            let mut inner = self.shared.inner.lock();
            inner.number = self.number;
            std::mem::replace(&mut inner.base, base.clone())
        };
        self.shared.store.replace(base, &restored);
        drop(replaced);
        self.publish_sizes().map_err(fault)?;
        self.shared.directory.remove(old).map_err(fault)?;
        tracing::info!(revision = restored.revision, "installed a snapshot of another member");
        self.tell_deleted();
        done(Ok(restored));
        Ok(())
    }

    /// Makes `file` the one that a restart opens.
    fn name(&self, file: &NewFile) -> std::io::Result<()> {
        self.shared.directory.set_current(file.number())
    }

    /// Switches to a file that `CURRENT` names, or may name if the change failed half-way: a
    /// restart removes the other file. Returns the number of the old file.
    fn switch(&mut self, database: Arc<Database>, file: NewFile) -> u64 {
        self.database = database;
        std::mem::replace(&mut self.number, file.keep())
    }

    /// Makes the last commit the base of the store. `flushed` means that it includes the frozen
    /// memtable.
    fn install(&mut self, flushed: bool) -> Result<(), Fault> {
        let base = Arc::new(Snapshot::open(&self.database)?);
        let old = {
            let mut inner = self.shared.inner.lock();
            inner.number = self.number;
            std::mem::replace(&mut inner.base, base.clone())
        };
        self.shared.store.install_base(base, flushed);
        self.replaced.push(old);
        self.publish_sizes().map_err(fault)
    }

    fn publish_sizes(&mut self) -> std::io::Result<()> {
        let allocated = self.shared.directory.allocated_bytes(self.number)?;
        let mut inner = self.shared.inner.lock();
        let (latest, history) = inner.base.rows().map_err(std::io::Error::other)?;
        inner.content = Content { allocated, latest, history };
        inner.sizes = Sizes { allocated, in_use: latest.bytes + history.bytes };
        Ok(())
    }
}

/// Logs that a flush waits for disk space.
fn tell_shortage(shared: &EngineShared, disk: Option<Disk>) {
    tracing::warn!(
        path = %shared.directory.path().display(),
        free = disk.map_or(0, |disk| disk.free),
        "a flush to the database waits for disk space: free space on this disk or enlarge it"
    );
}
