//! When memtables are flushed, and how much log is kept after that.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_core::store::{FrozenMemtable, RestoredState, Shared};
use quorate_core::{Ending, LogPosition};
use quorate_storage::OnFault;
use quorate_storage::db::JobError;
use quorate_storage::db::engine::Engine;
use quorate_storage::db::image::Image;
use quorate_storage::db::receive::ReceivedSnapshot;
use quorate_storage::wal::Wal;
use tokio::sync::Notify;

use crate::ground::completion::completion;
use crate::log::encoding::decode_membership;
use crate::log::types::StoredMembership;

/// Limit in bytes of the log that is kept for lagging members. Without this limit, large entries
/// would make a start slow, because a start reads all entries that are kept.
const LOG_KEEP_BYTES: u64 = 128 << 20;
/// On a small disk, the log that is kept has at most `1 / LOG_KEEP_PART` of the disk.
const LOG_KEEP_PART: u64 = 8;
/// While a disk is short of space, the limit of the log that is kept is `1 / LOG_KEEP_PART_SHORT`
/// of the usual limit. A defragmentation can end the shortage, but needs space for a copy of the
/// database.
const LOG_KEEP_PART_SHORT: u64 = 4;
/// Interval between checks whether the log or a flush waits for disk space.
const SPACE_CHECK_PAUSE: Duration = Duration::from_millis(500);

/// When to flush.
#[derive(Clone, Debug)]
pub struct FlushOptions {
    /// Size in bytes above which the active memtable is frozen and flushed. All memtables together
    /// have at most about twice this size: at that size, writes wait for the flush. While a disk is
    /// full, the limit is higher.
    pub memtable_bytes_max: usize,
    /// Number of applied entries above which the active memtable is flushed, whatever its size. 0
    /// means no limit.
    pub entries_max: u64,
    /// Longest time that a write stays unflushed. Until the flush, the log has to keep the entry of
    /// the write.
    pub age_max: Duration,
}

impl Default for FlushOptions {
    fn default() -> Self {
        // A flush of this size takes about half a second, and a restart replays at most two
        // memtables.
        Self { memtable_bytes_max: 32 << 20, entries_max: 0, age_max: Duration::from_secs(60) }
    }
}

/// The database at a commit, and the last entry in that commit. A checkpoint is made on demand and
/// kept only briefly: while it exists, the database does not reuse the pages of the commit.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) applied: LogPosition,
    pub(crate) membership: StoredMembership,
    pub(crate) image: Image,
}

/// Flushes frozen memtables to the database. All clones use the same database.
#[derive(Clone)]
pub(crate) struct Flusher {
    common: Arc<Common>,
}

struct Common {
    options: FlushOptions,
    wal: Arc<Wal>,
    engine: Engine,
    store: Arc<Shared>,
    outcome: Arc<Outcome>,
    /// Size in bytes above which the active memtable is flushed.
    memtable_bytes_max: AtomicUsize,
    /// Whether a disk is short of space.
    is_short: AtomicBool,
}

/// The parts that the end of a flush needs. The threads of the log and of the database hold these
/// parts. The threads do not hold [`Common`], because [`Common`] owns the threads. A thread that
/// dropped the last [`Common`] would wait for its own end.
struct Outcome {
    /// Signalled after each flush.
    flushed: Notify,
    on_fault: OnFault,
}

impl Flusher {
    pub(crate) fn new(
        options: FlushOptions,
        wal: Arc<Wal>,
        engine: Engine,
        store: Arc<Shared>,
        on_fault: OnFault,
    ) -> Self {
        let outcome = Arc::new(Outcome { flushed: Notify::new(), on_fault });
        let memtable_bytes_max = AtomicUsize::new(options.memtable_bytes_max);
        let is_short = AtomicBool::new(false);
        let common = Common { options, wal, engine, store, outcome, memtable_bytes_max, is_short };
        Self { common: Arc::new(common) }
    }

    pub(crate) fn options(&self) -> &FlushOptions {
        &self.common.options
    }

    /// Size in bytes above which the active memtable is frozen and flushed.
    pub(crate) fn memtable_bytes_max(&self) -> usize {
        self.common.memtable_bytes_max.load(Ordering::Relaxed)
    }

    /// Sets the size in bytes above which the active memtable is flushed: `bytes`, or the
    /// configured size if that is smaller. Flushes nothing.
    pub(crate) fn limit_memtables(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes = bytes.min(self.common.options.memtable_bytes_max);
        self.common.memtable_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Sets whether a disk is short of space. While a disk is short of space, less of the log is
    /// kept.
    pub(crate) fn set_short(&self, is_short: bool) {
        self.common.is_short.store(is_short, Ordering::Relaxed);
    }

    /// Limit in bytes of the log that is kept although the database contains its entries.
    pub(crate) fn log_kept(&self) -> u64 {
        let disk = self.wal().disk();
        let kept =
            disk.map_or(LOG_KEEP_BYTES, |disk| LOG_KEEP_BYTES.min(disk.total / LOG_KEEP_PART));
        let is_short = self.common.is_short.load(Ordering::Relaxed);
        if is_short { kept / LOG_KEEP_PART_SHORT } else { kept }
    }

    /// Whether the log is longer than twice [`Self::log_kept`]. Large commands can change few keys,
    /// so the log can be that long although no memtable is full.
    pub(crate) fn is_log_long(&self) -> bool {
        let beyond = self.wal().last_beyond(2 * self.log_kept());
        matches!(beyond, Ok(Some(_)))
    }

    /// Whether the log or a flush waits for disk space.
    pub(crate) fn waits_for_space(&self) -> bool {
        self.wal().waits_for_space() || self.engine().waits_for_space()
    }

    /// Makes the log and the database fail instead of waiting for disk space, now and later. The
    /// member calls this method when it stops.
    pub(crate) fn stop_waiting_for_space(&self) {
        self.wal().stop_waiting_for_space();
        self.engine().stop_waiting_for_space();
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.common.engine
    }

    pub(crate) fn wal(&self) -> &Wal {
        &self.common.wal
    }

    /// The database at its last commit; `None` while the database is empty.
    pub(crate) fn checkpoint(&self) -> io::Result<Option<Checkpoint>> {
        let image = self.common.engine.image();
        let Some(applied) = image.applied() else { return Ok(None) };
        let membership = decode_membership(image.membership()).map_err(io::Error::other)?;
        Ok(Some(Checkpoint { applied, membership, image }))
    }

    /// Whether the database is still empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.common.engine.image().applied().is_none()
    }

    /// Waits for the end of the next flush.
    pub(crate) fn flushed(&self) -> tokio::sync::futures::Notified<'_> {
        self.common.outcome.flushed.notified()
    }

    /// Waits until no frozen memtable is left.
    pub(crate) async fn idle(&self) {
        loop {
            let flushed = self.flushed();
            tokio::pin!(flushed);
            flushed.as_mut().enable();
            if !self.common.store.has_frozen() {
                return;
            }
            flushed.await;
        }
    }

    /// Waits until no frozen memtable is left. Returns false if the log or a flush waits for disk
    /// space.
    pub(crate) async fn idle_if_there_is_space(&self) -> bool {
        while tokio::time::timeout(SPACE_CHECK_PAUSE, self.idle()).await.is_err() {
            if self.waits_for_space() {
                return false;
            }
        }
        true
    }

    /// Replaces the whole state with the state of another member. Memtables of the old state are no
    /// longer flushed.
    ///
    /// # Errors
    /// The state cannot be installed, or the member stops.
    pub(crate) async fn install(
        &self,
        received: ReceivedSnapshot,
    ) -> Result<RestoredState, JobError> {
        let (completer, restored) = completion();
        self.common.engine.install(received, completer.callback());
        let restored = restored.await.unwrap_or(Err(JobError::Stopped))?;
        self.common.outcome.flushed.notify_waiters();
        Ok(restored)
    }

    /// Flushes a frozen memtable in the background. Syncs the log first: the database must not be
    /// ahead of the durable log.
    pub(crate) fn flush(&self, frozen: FrozenMemtable) {
        let queue = self.common.engine.queue();
        let outcome = self.common.outcome.clone();
        self.common.wal.sync(Box::new(move |synced| {
            // A failed log has already stopped the process.
            if synced.is_ok() {
                queue.flush(frozen, Box::new(move |result| outcome.end(result)));
            }
        }));
    }
}

impl Outcome {
    fn end(&self, result: Result<(), JobError>) {
        if let Err(error) = result {
            let text = format!("cannot flush: {error}");
            (self.on_fault)(Ending { reason: error.end_reason(), text });
            return;
        }
        self.flushed.notify_waiters();
    }
}
