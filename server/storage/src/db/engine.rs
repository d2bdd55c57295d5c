//! The database and its writing thread.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_core::Fault;
use quorate_core::store::{FrozenMemtable, MemtableSize, Restored, Shared};
use redb::Database;

use super::defrag::{Copy, check_room};
use super::file::{Directory, FIRST, open_database};
use super::image::Image;
use super::incoming::{Half, Incoming, ReceiveError, Received, Receiving};
use super::merge::{begin, create_tables};
use super::meta::Meta;
use super::metrics::Metrics;
use super::paced::Patience;
use super::room::{self, Content, Room};
use super::snapshot::Snapshot;
use super::worker::Worker;
use super::{DatabaseError, fault};
use crate::OnFault;
use crate::space::Disk;

/// Files up to this size are verified completely when they are opened, which takes less than a
/// tenth of a second. Rows of larger files are verified only as they are read.
const VERIFY_BYTES_MAX: u64 = 64 << 20;
/// The writing thread finishes a copy that lags behind by at most this many revisions.
const DEFRAG_LAG_MAX: i64 = 20_000;

/// Called once when a job is done or has failed.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Called once when a received state is installed, with the state for the store, or has failed.
pub type Installed = Box<dyn FnOnce(Result<Restored, String>) + Send>;

/// Options of the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of redb's page cache in bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 40 << 20 }
    }
}

/// Sizes of the database in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Space taken on disk.
    pub allocated: u64,
    /// Bytes of the rows in it.
    pub in_use: u64,
}

/// An open database without its writing thread.
pub struct Opened {
    directory: Directory,
    number: u64,
    database: Arc<Database>,
    base: Arc<Snapshot>,
    restored: Restored,
    options: Options,
    metrics: Metrics,
    patience: Patience,
}

impl Opened {
    /// Opens the database in `path`; makes one if there is none and the member `is_new`.
    pub fn open(path: &Path, options: Options, is_new: bool) -> Result<Self, DatabaseError> {
        let metrics = Metrics::default();
        let directory = Directory::open(path, metrics.commit.clone())?;
        let current = directory.current()?;
        if current.is_none() && !is_new {
            // Change nothing: a file here may be the database, if only `CURRENT` is lost.
            return Err(directory.without_current());
        }
        directory.remove_others(current).map_err(|e| directory.io_error(e))?;
        let number = current.unwrap_or(FIRST);
        let file = directory.file(number);
        let damaged = |what: String| DatabaseError::Damaged { path: file.clone(), what };
        let length = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
        if current.is_some() && length == 0 {
            return Err(damaged("it is missing or empty".to_owned()));
        }
        let verified = current.is_some() && length <= VERIFY_BYTES_MAX;
        let syncs = metrics.commit.clone();
        let patience = Patience::new(directory.waiting.clone());
        let kept = patience.clone();
        let database = open_database(&file, options.cache_bytes, verified, syncs, kept)?;
        if current.is_none() {
            create(&database).map_err(|e| damaged(e.to_string()))?;
            directory.set_current(number).map_err(|e| directory.io_error(e))?;
        }
        let base = Arc::new(Snapshot::open(&database).map_err(|e| damaged(e.to_string()))?);
        let restored = base.restored().map_err(|e| damaged(e.to_string()))?;
        Ok(Self { directory, number, database, base, restored, options, metrics, patience })
    }

    /// The flushed state.
    pub fn base(&self) -> Arc<dyn quorate_core::base::Base> {
        self.base.clone()
    }

    /// The state that a store needs in addition to the base.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }
}

fn create(database: &Database) -> Result<(), Fault> {
    let txn = begin(database)?;
    create_tables(&txn, &Meta::default())?;
    txn.commit().map_err(fault)
}

/// A job for the writing thread.
pub(super) enum Job {
    Flush(Box<FrozenMemtable>, Done),
    /// The last step of a copy, with the number of the file that was copied.
    FinishCopy(Copy, u64),
    Install(Box<Received>, Installed),
}

/// The state that the writing thread shares with callers.
pub(super) struct Inner {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closing: bool,
    /// The compacted revision up to which history is deleted.
    pub(super) deleted: i64,
    /// Callbacks that wait for the deletion of history, with their compacted revisions.
    pub(super) waiting_for_deletion: Vec<(i64, Done)>,
    /// Start of the running defragmentation, and the callbacks that wait for its end.
    pub(super) defragmenting: Option<(Instant, Vec<Done>)>,
    pub(super) sizes: Sizes,
    pub(super) content: Content,
    /// Whether a flush waits because the disk has no space for it.
    pub(super) is_short: bool,
    pub(super) base: Arc<Snapshot>,
    pub(super) number: u64,
}

pub(super) struct EngineShared {
    pub(super) inner: Mutex<Inner>,
    pub(super) wake: Condvar,
    receiving: Arc<Mutex<Receiving>>,
    pub(super) store: Arc<Shared>,
    pub(super) directory: Directory,
    options: Options,
    on_fault: OnFault,
    pub(super) metrics: Metrics,
}

impl EngineShared {
    fn image(&self) -> Image {
        Image::new(self.inner.lock().base.clone())
    }

    pub(super) fn fail(&self, error: &Fault) {
        let reason = match error {
            Fault::Storage(reason) => reason.clone(),
            other => other.to_string(),
        };
        let path = self.directory.path().display();
        (self.on_fault)(format!("cannot write the database in {path}: {reason}"));
    }
}

/// The database. Dropping it finishes the queued jobs, except flushes for which the disk has no
/// space, and stops the writing thread.
pub struct Engine {
    shared: Arc<EngineShared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the writing thread of `opened`, which installs each new base in `store`. `on_fault`
    /// is called when the database cannot be written; the process must then stop.
    pub fn start(opened: Opened, store: Arc<Shared>, on_fault: OnFault) -> std::io::Result<Self> {
        let meta = opened.base.meta().clone();
        let shared = Arc::new(EngineShared {
            inner: Mutex::new(Inner {
                jobs: VecDeque::new(),
                closing: false,
                deleted: meta.deleted,
                waiting_for_deletion: Vec::new(),
                defragmenting: None,
                sizes: Sizes::default(),
                content: Content::default(),
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
        shared.directory.waiting.allow();
        opened.patience.begin();
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
        self.shared.inner.lock().sizes
    }

    /// The size of the database's disk, and the free space wanted to flush `memtables`.
    pub fn room(&self, memtables: MemtableSize) -> std::io::Result<Room> {
        let disk = Disk::of(self.shared.directory.path())?;
        let inner = self.shared.inner.lock();
        Ok(room::wanted(disk, &inner.content, memtables))
    }

    /// The directory of the database.
    pub fn path(&self) -> &Path {
        self.shared.directory.path()
    }

    /// Whether a flush waits for disk space, or may not wait because the member stops.
    pub fn waits_for_room(&self) -> bool {
        let waiting = &self.shared.directory.waiting;
        waiting.is_waited() || waiting.is_over() || self.shared.inner.lock().is_short
    }

    /// Makes the database fail instead of waiting for disk space, now and later. Call it when the
    /// member stops.
    pub fn give_up_room(&self) {
        self.shared.directory.waiting.end();
        self.shared.wake.notify_one();
    }

    /// A handle that queues flushes without keeping the database open.
    pub fn queue(&self) -> Queue {
        Queue(self.shared.clone())
    }

    /// An image of the last commit, to be sent to another member.
    pub fn image(&self) -> Image {
        self.shared.image()
    }

    /// Starts to receive another member's state, or continues where an earlier stream ended. `id`
    /// is [`Image::id`] of the sender's image. Only one state is received at a time, by one stream:
    /// this call drops a partly received state with another id, and an earlier [`Incoming`] then
    /// refuses every call.
    pub fn receive(&self, id: &str) -> Result<Incoming, ReceiveError> {
        let shared = &self.shared;
        Receiving::open(&shared.receiving, id, || {
            Half::begin(id, shared.directory.new_file(), shared.options.cache_bytes)
        })
    }

    /// Drops a partly received state and frees its space, if no part has arrived for `age`.
    pub fn stop_receiving(&self, age: Duration) {
        self.shared.receiving.lock().drop_old(age);
    }

    /// Replaces the database and the whole store with a received later state, before all queued
    /// jobs. When `done` is called, the state is durable and readers see it, and the caller must
    /// call `Store::take_over`. Nothing may be applied before that. Memtables of the old state are
    /// no longer flushed, and a running defragmentation fails.
    pub fn install(&self, received: Received, done: Installed) {
        let job = Job::Install(Box::new(received), done);
        self.shared.inner.lock().jobs.push_front(job);
        self.shared.wake.notify_one();
    }

    /// Calls `look` with the directory at each step of changing the file in use.
    #[cfg(test)]
    pub(super) fn watch_switch(&self, look: super::tests::Look) {
        self.shared.directory.probe.look_with(look);
    }

    /// Calls `done` when the history that a compaction at `revision` removes is deleted. The
    /// compaction must have been flushed.
    pub fn when_deleted(&self, revision: i64, done: Done) {
        let mut inner = self.shared.inner.lock();
        if inner.deleted >= revision {
            drop(inner);
            done(Ok(()));
            return;
        }
        inner.waiting_for_deletion.push((revision, done));
    }

    /// Copies the database into a new file without free space, and calls `done` at the end. Reads
    /// and writes continue meanwhile.
    pub fn defragment(&self, done: Done) {
        defragment(&self.shared, Some(done));
    }
}

/// A handle that queues flushes. It does not keep the database open: a memtable that is queued
/// after the [`Engine`] was dropped is not flushed, but the log has its versions.
pub struct Queue(Arc<EngineShared>);

impl Queue {
    /// Queues the merge of a frozen memtable into the database. All of its versions must be durable
    /// in the log. If an installed state has replaced the memtable meanwhile, it is not merged and
    /// `done` is dropped.
    pub fn flush(&self, frozen: FrozenMemtable, done: Done) {
        self.0.inner.lock().jobs.push_back(Job::Flush(Box::new(frozen), done));
        self.0.wake.notify_one();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.directory.waiting.end();
        self.shared.inner.lock().closing = true;
        self.shared.wake.notify_one();
        crate::join(self.thread.take(), "writes the database");
    }
}

/// Starts a defragmentation, unless one is running, and calls `done` at its end.
pub(super) fn defragment(shared: &Arc<EngineShared>, done: Option<Done>) {
    let mut inner = shared.inner.lock();
    if let Some((_, waiting)) = &mut inner.defragmenting {
        waiting.extend(done);
        return;
    }
    inner.defragmenting = Some((Instant::now(), done.into_iter().collect()));
    shared.metrics.defragmenting.set(1);
    let base = inner.base.clone();
    let number = inner.number;
    drop(inner);
    let taken = shared.clone();
    let spawned = std::thread::Builder::new().name("defragment".to_owned()).spawn(move || {
        if let Err(error) = copy(&taken, base, number) {
            end_defragmentation(&taken, Err(error.to_string()));
        }
    });
    if let Err(error) = spawned {
        end_defragmentation(shared, Err(error.to_string()));
    }
}

/// Copies file `number`, of which `base` is a commit, and hands the copy to the writing thread for
/// the last step.
fn copy(shared: &EngineShared, base: Arc<Snapshot>, number: u64) -> Result<(), Fault> {
    let last = || {
        let inner = shared.inner.lock();
        (inner.number == number).then(|| inner.base.clone()).ok_or_else(superseded)
    };
    check_room(shared.directory.path(), base.meta())?;
    let file = shared.directory.new_file();
    let database = file.open(shared.options.cache_bytes)?;
    let mut copy = Copy::new(database, file, &base, &|| last().map(|_| ()))?;
    drop(base);
    loop {
        let base = last()?;
        let lag = base.meta().history_revision - copy.revision();
        if lag <= DEFRAG_LAG_MAX {
            break;
        }
        copy.catch_up(&base)?;
    }
    let mut inner = shared.inner.lock();
    inner.jobs.push_back(Job::FinishCopy(copy, number));
    drop(inner);
    shared.wake.notify_one();
    Ok(())
}

pub(super) fn superseded() -> Fault {
    fault("another state was installed meanwhile")
}

/// Calls the callbacks of the defragmentation. If it failed, the old file stays in use.
pub(super) fn end_defragmentation(shared: &EngineShared, result: Result<(), String>) {
    let mut inner = shared.inner.lock();
    let ended = inner.defragmenting.take();
    drop(inner);
    let Some((started, waiting)) = ended else { return };
    shared.metrics.defragmenting.set(0);
    if result.is_ok() {
        shared.metrics.defrag.observe(started.elapsed().as_secs_f64());
    }
    if let Err(error) = &result {
        tracing::error!(error, "the defragmentation failed; the database is unchanged");
    }
    shared.wake.notify_one();
    for done in waiting {
        done(result.clone());
    }
}
