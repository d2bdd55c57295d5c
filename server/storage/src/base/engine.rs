//! The database with the thread that writes it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use quorate_core::Fault;
use quorate_core::store::{Frozen, LayerSize, Restored, Shared};
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
use super::{BaseError, fault};
use crate::OnFault;
use crate::space::Disk;

/// Files up to this size are verified as a whole when they are opened: it takes less than a tenth
/// of a second. Larger ones are trusted, and rows are verified as they are read.
const VERIFY_BYTES_MAX: u64 = 64 << 20;
/// A copy is close enough for the last step when it is behind by this many revisions or less.
const DEFRAG_LAG_MAX: i64 = 20_000;

/// Called when a piece of work is done, or cannot be.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Called when an installed state is in use, with what a store must know of it, or cannot be.
pub type Installed = Box<dyn FnOnce(Result<Restored, String>) + Send>;

/// How the database is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Memory for pages, in bytes.
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

/// A database that was opened and is not written yet.
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
    /// Opens the database in `path`; makes one for a member that `is_new`.
    pub fn open(path: &Path, options: Options, is_new: bool) -> Result<Self, BaseError> {
        let metrics = Metrics::default();
        let directory = Directory::open(path, metrics.commit.clone())?;
        let current = directory.current()?;
        if current.is_none() && !is_new {
            // Nothing may be touched: what lies here may be the database, if only its name is lost.
            return Err(directory.without_current());
        }
        directory.remove_others(current).map_err(|e| directory.io_error(e))?;
        let number = current.unwrap_or(FIRST);
        let file = directory.file(number);
        let damaged = |what: String| BaseError::Damaged { path: file.clone(), what };
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

    /// What a store must know beside the base.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }
}

fn create(database: &Database) -> Result<(), Fault> {
    let txn = begin(database)?;
    create_tables(&txn, &Meta::default())?;
    txn.commit().map_err(fault)
}

/// Work for the thread.
pub(super) enum Job {
    Flush(Box<Frozen>, Done),
    /// With the number of the file that was copied.
    FinishCopy(Copy, u64),
    Install(Box<Received>, Installed),
}

/// What the thread and its callers share.
pub(super) struct Inner {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closing: bool,
    /// Kept up to date for those who wait for it.
    pub(super) deleted: i64,
    pub(super) waiting_for_deletion: Vec<(i64, Done)>,
    /// Those who wait for the running defragmentation.
    pub(super) defragmenting: Option<(Instant, Vec<Done>)>,
    pub(super) sizes: Sizes,
    pub(super) content: Content,
    /// Whether there is something to flush, and no room for it.
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

/// The database. Dropping it does the work that is queued and stops the thread.
pub struct Engine {
    shared: Arc<EngineShared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts to write `opened`. What is flushed is installed in `store`. `on_fault` is called when
    /// the database cannot be written; the process must then stop.
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
        // From here on the member serves, and a full disk need not end it.
        shared.directory.waiting.allow();
        opened.patience.begin();
        let worker = Worker::new(shared.clone(), opened.database, opened.number, meta)?;
        let thread = std::thread::Builder::new().name("flush".to_owned());
        let thread = thread.spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What the database measures.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Sizes after the last flush.
    pub fn sizes(&self) -> Sizes {
        self.shared.inner.lock().sizes
    }

    /// What room the database has on its disk, and wants for this much in the layers.
    pub fn room(&self, layers: LayerSize) -> std::io::Result<Room> {
        let disk = Disk::of(self.shared.directory.path())?;
        let inner = self.shared.inner.lock();
        Ok(room::wanted(disk, &inner.content, layers))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.shared.directory.path()
    }

    /// Whether a flush waits for room, or would in vain.
    pub fn waits_for_room(&self) -> bool {
        let waiting = &self.shared.directory.waiting;
        waiting.is_waited() || waiting.is_over() || self.shared.inner.lock().is_short
    }

    /// Has the database fail where it waits for room, or will: the member is to end.
    pub fn give_up_room(&self) {
        self.shared.directory.waiting.end();
        self.shared.wake.notify_one();
    }

    /// The way to flush for those who must not keep the database open.
    pub fn queue(&self) -> Queue {
        Queue(self.shared.clone())
    }

    /// The database at its last commit, for another member.
    pub fn image(&self) -> Image {
        self.shared.image()
    }

    /// Begins to receive another member's state, or goes on where an earlier stream of it ended.
    /// `id` is the name of the sender's [`Image`]. One state is received at a time, by one stream:
    /// a half that has another name is dropped, and an earlier [`Incoming`] refuses what comes.
    pub fn receive(&self, id: &str) -> Result<Incoming, ReceiveError> {
        let shared = &self.shared;
        Receiving::open(&shared.receiving, id, || {
            Half::begin(id, shared.directory.new_file(), shared.options.cache_bytes)
        })
    }

    /// Drops a state that was received in part, of which nothing has come for `age`, and gives its
    /// space back.
    pub fn stop_receiving(&self, age: Duration) {
        self.shared.receiving.lock().drop_old(age);
    }

    /// Puts a received state, later than this one, in the place of the database and of everything
    /// in the store, before any work that is queued. When `done` is called the state is durable,
    /// readers see it, and the store is to take it over. Until then nothing may be applied. Layers
    /// of the old state are not flushed any more, and a running defragmentation fails.
    pub fn install(&self, received: Received, done: Installed) {
        let job = Job::Install(Box::new(received), done);
        self.shared.inner.lock().jobs.push_front(job);
        self.shared.wake.notify_one();
    }

    /// Lets a test look at the directory while the file in use is changed.
    #[cfg(test)]
    pub(super) fn watch_switch(&self, look: super::tests::Look) {
        self.shared.directory.probe.look_with(look);
    }

    /// Calls `done` when the history that a compaction at `revision` gave up is deleted. The
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

    /// Rewrites the database into a new file without the space that is free in it. Calls `done`
    /// at the end; reads and writes go on meanwhile.
    pub fn defragment(&self, done: Done) {
        defragment(&self.shared, Some(done));
    }
}

/// What is to be flushed. It does not keep the database open: what is added after its end is lost,
/// as the log has it.
pub struct Queue(Arc<EngineShared>);

impl Queue {
    /// Merges a frozen layer into the database. Everything in it must be durable in the log. `done`
    /// is dropped, and nothing merged, when a state that was installed has taken the layer's place.
    pub fn flush(&self, frozen: Frozen, done: Done) {
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

/// Begins a defragmentation, unless there is one, and calls `done` at its end.
pub(super) fn defragment(shared: &Arc<EngineShared>, done: Option<Done>) {
    let mut inner = shared.inner.lock();
    if let Some((_, waiting)) = &mut inner.defragmenting {
        waiting.extend(done);
        return;
    }
    inner.defragmenting = Some((Instant::now(), done.into_iter().collect()));
    shared.metrics.defragmenting.set(1);
    let (base, number) = (inner.base.clone(), inner.number);
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

/// Copies file `number`, of which `base` is a commit, up to the last step, and hands the copy to
/// the thread that flushes.
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

/// Tells those who wait. A defragmentation that failed leaves the old file in use.
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
        tracing::error!(error, "the defragmentation failed; the database is as it was");
    }
    shared.wake.notify_one();
    for done in waiting {
        done(result.clone());
    }
}
