//! The thread that writes the database.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quorate_core::Fault;
use quorate_core::mvcc::SharedMemtable;
use quorate_core::store::FrozenMemtable;
use redb::Database;

use super::copy::DatabaseCopy;
use super::defrag::{check_space, defragment, end_defragmentation};
use super::error::{JobError, Problem, fault};
use super::estimate::FileUsage;
use super::file::NewFile;
use super::merge::{begin, merge};
use super::meta::Meta;
use super::read_txn::ReadTxn;
use super::receive::ReceivedSnapshot;
use super::state::{EngineShared, InstallDone, Job, JobDone, Sizes};
use super::{compact, estimate};
use crate::space::{CHECK_PAUSE, Disk, is_full};

/// Pause between checks for readers that still hold flushed memtables or replaced transactions.
const UNUSED_PAUSE: Duration = Duration::from_millis(100);
/// Pause between checks for a file that is too large for its rows.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Shortest pause between two copies that make the file smaller.
const SHRINK_PAUSE: Duration = Duration::from_secs(10);
/// The pause between two copies is also at least the duration of the last copy times this number.
const SHRINK_TIMES: u32 = 10;

/// The state of the writing thread.
pub(super) struct Worker {
    shared: Arc<EngineShared>,
    database: Arc<Database>,
    number: u64,
    meta: Meta,
    /// Start of the running deletion of compacted history.
    deletion_began: Option<Instant>,
    /// Flushed memtables that readers may still hold. This thread drops the last reference, because
    /// freeing a memtable takes tens of milliseconds, which would delay any other thread's work.
    flushed: Vec<SharedMemtable>,
    /// Replaced read transactions that readers may still hold. Dropping the last transaction of a
    /// deleted file frees the file's space, which takes hundreds of milliseconds.
    replaced: Vec<Arc<ReadTxn>>,
    /// Whether the last flush replaced pages that are not free yet.
    has_garbage: bool,
    /// Earliest time of the next copy that makes the file smaller.
    shrink_after: Instant,
    /// The usage of the file right after the last copy.
    copied: Option<FileUsage>,
}

/// The next step of the thread.
enum Next {
    Job(Job),
    /// A step that deletes compacted history. The step reads at most this number of versions.
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
            deletion_began: None,
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
                Next::Job(Job::FinishCopy(copy, number)) => self.finish_copy(*copy, number),
                Next::Job(Job::Install(received, done)) => self.install_snapshot(*received, done),
                Next::Compact(rows) => self.compact(rows),
                Next::Stop => return,
            };
            if let Err(error) = result {
                // A stopping member does not wait for disk space, so its last flushes may fail.
                // That is no fault: the log has everything that is not flushed.
                if self.is_stopping() {
                    tracing::warn!(%error, "the last memtables are not flushed; the log has them");
                } else {
                    self.shared.fail(&error);
                }
                return;
            }
        }
    }

    /// Frees flushed memtables and replaced read transactions that no reader holds.
    fn free_unused(&mut self) {
        self.flushed.retain(|memtable| Arc::strong_count(memtable) > 1);
        self.replaced.retain(|base| Arc::strong_count(base) > 1);
        let readers = 1 + i64::try_from(self.replaced.len()).unwrap_or(i64::MAX - 1);
        self.shared.metrics.readers.set(readers);
    }

    /// Whether the member is stopping. A stopping member must not wait for disk space.
    fn is_stopping(&self) -> bool {
        self.shared.directory.full_disk.is_disabled()
    }

    fn next(&mut self) -> Next {
        loop {
            self.free_unused();
            self.shrink();
            // If the file system does not report its free space, take any job: only its writes show
            // whether the disk has space for the job.
            let disk = Disk::of(self.shared.directory.path()).ok();
            let mut state = self.shared.state.lock();
            let usage = state.usage;
            let fits = |job: &Job| match job {
                Job::Flush(frozen, _) => disk.is_none_or(|disk| {
                    disk.free >= estimate::flush(frozen.memtable.read().bytes(), &usage)
                }),
                Job::FinishCopy(..) | Job::Install(..) => true,
            };
            let next = state.jobs.iter().position(fits);
            let is_short = next.is_none() && !state.jobs.is_empty();
            let was_short = std::mem::replace(&mut state.is_short, is_short);
            if let Some(job) = next.and_then(|next| state.jobs.remove(next)) {
                return Next::Job(job);
            }
            if state.closing {
                return Next::Stop;
            }
            if compact::is_due(&self.meta) && state.defragmenting.is_none() {
                let free = disk.map_or(u64::MAX, |disk| disk.free);
                if let Some(rows) = estimate::compaction(free, &usage) {
                    return Next::Compact(rows);
                }
            }
            if is_short && !was_short {
                warn_no_space(&self.shared, disk);
            }
            if is_short || compact::is_due(&self.meta) {
                self.shared.wake.wait_for(&mut state, CHECK_PAUSE);
            } else if self.flushed.is_empty() && self.replaced.is_empty() {
                self.shared.wake.wait_for(&mut state, IDLE_PAUSE);
            } else {
                self.shared.wake.wait_for(&mut state, UNUSED_PAUSE);
            }
        }
    }

    /// Starts a copy that makes the file smaller, if most of the file is free, this thread has
    /// nothing else to do, and the disk has space for the copy.
    fn shrink(&mut self) {
        let state = self.shared.state.lock();
        let is_busy = !state.jobs.is_empty() || state.closing || state.defragmenting.is_some();
        let meta = state.base.meta();
        if is_busy || compact::is_due(meta) || Instant::now() < self.shrink_after {
            return;
        }
        if !state.usage.is_wasteful(self.copied) {
            return;
        }
        self.shrink_after = Instant::now() + SHRINK_PAUSE;
        let has_space = check_space(self.shared.directory.path(), meta).is_ok();
        let Sizes { allocated, in_use } = state.sizes;
        drop(state);
        if has_space {
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

    fn flush(&mut self, frozen: FrozenMemtable, done: JobDone) -> Result<(), Fault> {
        if !self.shared.store.is_frozen(&frozen.memtable) {
            tracing::debug!(revision = frozen.revision, "not flushed: a snapshot is installed");
            return Ok(());
        }
        let started = Instant::now();
        self.free_replaced()?;
        let base = self.shared.state.lock().base.clone();
        let txn = begin(&self.database)?;
        merge(&txn, &frozen, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.publish(true)?;
        self.has_garbage = true;
        let seconds = started.elapsed().as_secs_f64();
        tracing::debug!(revision = frozen.revision, seconds, "flushed");
        self.flushed.push(frozen.memtable);
        done(Ok(()));
        Ok(())
    }

    fn compact(&mut self, rows: usize) -> Result<(), Fault> {
        let started = Instant::now();
        let began = *self.deletion_began.get_or_insert(started);
        let base = self.shared.state.lock().base.clone();
        let txn = begin(&self.database)?;
        let deleted = compact::step(&txn, rows, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.shared.metrics.compacted_keys.inc_by(deleted);
        self.publish(false)?;
        self.measure_compaction(started, began);
        self.notify_deleted();
        Ok(())
    }

    /// Calls each waiting callback if history is now deleted up to the callback's revision.
    fn notify_deleted(&self) {
        let mut state = self.shared.state.lock();
        state.deleted = self.meta.deleted;
        let (ready, waiting) = std::mem::take(&mut state.waiting_for_deletion)
            .into_iter()
            .partition(|(revision, _)| *revision <= self.meta.deleted);
        state.waiting_for_deletion = waiting;
        drop(state);
        let ready: Vec<(i64, JobDone)> = ready;
        for (_, done) in ready {
            done(Ok(()));
        }
    }

    /// Records the metrics of a step that deletes compacted history.
    fn measure_compaction(&mut self, started: Instant, began: Instant) {
        let metrics = &self.shared.metrics;
        metrics.compaction_pause.observe(started.elapsed().as_secs_f64() * 1e3);
        if compact::is_running(&self.meta) {
            return;
        }
        self.deletion_began = None;
        metrics.compaction_total.observe(began.elapsed().as_secs_f64() * 1e3);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        metrics.compaction_last.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    /// Finishes a copy and switches to its file.
    fn finish_copy(&mut self, copy: DatabaseCopy, source: u64) -> Result<(), Fault> {
        let finished = if source == self.number {
            let base = self.shared.state.lock().base.clone();
            copy.finish(&base)
        } else {
            Err(Problem::Superseded.into())
        };
        let (database, file) = match finished {
            Ok(copy) => copy,
            Err(error) => {
                end_defragmentation(&self.shared, Err(error.into()));
                return Ok(());
            }
        };
        let named = match self.set_current(&file) {
            // `CURRENT` did not change, so the old file stays in use.
            Err(error) if is_full(&error) => {
                end_defragmentation(&self.shared, Err(error.into()));
                return Ok(());
            }
            named => named,
        };
        let old = self.switch_file(database, file);
        named.map_err(fault)?;
        self.has_garbage = false;
        self.publish(false)?;
        self.meta = self.shared.state.lock().base.meta().clone();
        self.shared.directory.remove(old).map_err(fault)?;
        let state = self.shared.state.lock();
        self.copied = Some(state.usage);
        let took = state.defragmenting.as_ref().map_or(Duration::ZERO, |(at, _)| at.elapsed());
        drop(state);
        self.shrink_after = Instant::now() + SHRINK_PAUSE.max(took * SHRINK_TIMES);
        end_defragmentation(&self.shared, Ok(()));
        Ok(())
    }

    /// Installs a received snapshot in place of the database and the store.
    fn install_snapshot(
        &mut self,
        received: ReceivedSnapshot,
        done: InstallDone,
    ) -> Result<(), Fault> {
        if received.applied() <= self.meta.applied {
            let error =
                JobError::NotLater { received: received.applied(), applied: self.meta.applied };
            drop(received);
            done(Err(error));
            return Ok(());
        }
        let ReceivedSnapshot { base, restored, database, file } = received;
        let directory = &self.shared.directory;
        let named = directory.full_disk.retry(directory.path(), 1, || self.set_current(&file));
        let old = self.switch_file(database, file);
        named.map_err(fault)?;
        self.has_garbage = false;
        self.meta = base.meta().clone();
        let replaced = {
            let mut state = self.shared.state.lock();
            state.number = self.number;
            std::mem::replace(&mut state.base, base.clone())
        };
        self.shared.store.install_snapshot(base, &restored);
        drop(replaced);
        self.publish_sizes().map_err(fault)?;
        self.shared.directory.remove(old).map_err(fault)?;
        tracing::info!(revision = restored.revision, "installed a snapshot of another member");
        self.notify_deleted();
        done(Ok(restored));
        Ok(())
    }

    /// Makes `file` the one that a restart opens.
    fn set_current(&self, file: &NewFile) -> std::io::Result<()> {
        self.shared.directory.set_current(file.number())
    }

    /// Switches to `file`. Call this even if the change of `CURRENT` failed half-way: `CURRENT` may
    /// already name `file`, and a restart removes the file that `CURRENT` does not name. Returns
    /// the number of the old file.
    fn switch_file(&mut self, database: Arc<Database>, file: NewFile) -> u64 {
        self.database = database;
        std::mem::replace(&mut self.number, file.keep())
    }

    /// Makes the last commit the base of the store. `flushed` means that the commit includes the
    /// frozen memtable.
    fn publish(&mut self, flushed: bool) -> Result<(), Fault> {
        let base = Arc::new(ReadTxn::open(&self.database)?);
        let old = {
            let mut state = self.shared.state.lock();
            state.number = self.number;
            std::mem::replace(&mut state.base, base.clone())
        };
        self.shared.store.install_base(base, flushed);
        self.replaced.push(old);
        self.publish_sizes().map_err(fault)
    }

    fn publish_sizes(&mut self) -> std::io::Result<()> {
        let allocated = self.shared.directory.allocated_bytes(self.number)?;
        let mut state = self.shared.state.lock();
        let (latest, history) = state.base.rows().map_err(std::io::Error::other)?;
        state.usage = FileUsage { allocated, latest, history };
        state.sizes = Sizes { allocated, in_use: latest.bytes + history.bytes };
        Ok(())
    }
}

/// Logs that a flush waits for disk space.
fn warn_no_space(shared: &EngineShared, disk: Option<Disk>) {
    tracing::warn!(
        path = %shared.directory.path().display(),
        free = disk.map_or(0, |disk| disk.free),
        "a flush to the database waits for disk space: free space on this disk or enlarge it"
    );
}
