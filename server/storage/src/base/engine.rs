//! The database with the thread that writes it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use quorate_core::Fault;
use quorate_core::mvcc::SharedLayer;
use quorate_core::store::{Frozen, Restored, Shared};
use redb::Database;

use super::defrag::{Copy, check_room};
use super::file::{Directory, FIRST, NewFile, open_database};
use super::image::Image;
use super::incoming::{Half, Incoming, ReceiveError, Received, Receiving};
use super::merge::{begin, create_tables, merge};
use super::meta::Meta;
use super::metrics::Metrics;
use super::snapshot::Snapshot;
use super::{BaseError, compact, fault};
use crate::OnFault;

/// Files up to this size are verified as a whole when they are opened: it takes less than a tenth
/// of a second. Larger ones are trusted, and rows are verified as they are read.
const VERIFY_BYTES_MAX: u64 = 64 << 20;
/// Pause before it is looked at again whether readers have let go of what was replaced.
const LET_GO_PAUSE: Duration = Duration::from_millis(100);
/// Versions looked at in one transaction while compacted history is deleted.
const COMPACT_ROWS: usize = 4096;
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
        let database = open_database(&file, options.cache_bytes, verified, syncs)?;
        if current.is_none() {
            create(&database).map_err(|e| damaged(e.to_string()))?;
            directory.set_current(number).map_err(|e| directory.io_error(e))?;
        }
        let base = Arc::new(Snapshot::open(&database).map_err(|e| damaged(e.to_string()))?);
        let restored = base.restored().map_err(|e| damaged(e.to_string()))?;
        Ok(Self { directory, number, database, base, restored, options, metrics })
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
enum Job {
    Flush(Box<Frozen>, Done),
    /// With the number of the file that was copied.
    FinishCopy(Copy, u64),
    Install(Box<Received>, Installed),
}

/// What the thread and its callers share.
struct Inner {
    jobs: VecDeque<Job>,
    closing: bool,
    /// Kept up to date for those who wait for it.
    deleted: i64,
    waiting_for_deletion: Vec<(i64, Done)>,
    /// Those who wait for the running defragmentation.
    defragmenting: Option<(Instant, Vec<Done>)>,
    sizes: Sizes,
    base: Arc<Snapshot>,
    number: u64,
}

struct EngineShared {
    inner: Mutex<Inner>,
    wake: Condvar,
    receiving: Arc<Mutex<Receiving>>,
    store: Arc<Shared>,
    directory: Directory,
    options: Options,
    on_fault: OnFault,
    metrics: Metrics,
}

impl EngineShared {
    fn image(&self) -> Image {
        Image::new(self.inner.lock().base.clone())
    }

    fn fail(&self, error: &Fault) {
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
        let mut worker = Worker {
            shared: shared.clone(),
            database: opened.database,
            number: opened.number,
            meta,
            walk: None,
            flushed: Vec::new(),
            replaced: Vec::new(),
        };
        worker.publish_sizes()?;
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
        let mut inner = self.shared.inner.lock();
        if let Some((_, waiting)) = &mut inner.defragmenting {
            waiting.push(done);
            return;
        }
        inner.defragmenting = Some((Instant::now(), vec![done]));
        self.shared.metrics.defragmenting.set(1);
        let (base, number) = (inner.base.clone(), inner.number);
        drop(inner);
        let shared = self.shared.clone();
        let spawned = std::thread::Builder::new().name("defragment".to_owned()).spawn(move || {
            if let Err(error) = copy(&shared, base, number) {
                end_defragmentation(&shared, Err(error.to_string()));
            }
        });
        if let Err(error) = spawned {
            end_defragmentation(&self.shared, Err(error.to_string()));
        }
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
        self.shared.inner.lock().closing = true;
        self.shared.wake.notify_one();
        crate::join(self.thread.take(), "writes the database");
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

fn superseded() -> Fault {
    fault("another state was installed meanwhile")
}

/// Tells those who wait. A defragmentation that failed leaves the old file in use.
fn end_defragmentation(shared: &EngineShared, result: Result<(), String>) {
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

/// What the thread owns.
struct Worker {
    shared: Arc<EngineShared>,
    database: Arc<Database>,
    number: u64,
    meta: Meta,
    /// Since when compacted history is being deleted.
    walk: Option<Instant>,
    /// Layers that are flushed and may still be read. Freeing one takes tens of milliseconds, which
    /// nobody but this thread has: it lets go last.
    flushed: Vec<SharedLayer>,
    /// Snapshots that were replaced and may still be read. The last one of a file that is deleted
    /// gives its space back, which takes hundreds of milliseconds.
    replaced: Vec<Arc<Snapshot>>,
}

/// What to do next.
enum Next {
    Job(Job),
    Compact,
    Stop,
}

impl Worker {
    fn run(mut self) {
        loop {
            let result = match self.next() {
                Next::Job(Job::Flush(frozen, done)) => self.flush(*frozen, done),
                Next::Job(Job::FinishCopy(copy, number)) => self.finish_copy(copy, number),
                Next::Job(Job::Install(received, done)) => self.replace(*received, done),
                Next::Compact => self.compact(),
                Next::Stop => return,
            };
            if let Err(error) = result {
                self.shared.fail(&error);
                return;
            }
        }
    }

    /// Frees what nobody reads any more.
    fn let_go(&mut self) {
        self.flushed.retain(|layer| Arc::strong_count(layer) > 1);
        self.replaced.retain(|base| Arc::strong_count(base) > 1);
        let readers = 1 + i64::try_from(self.replaced.len()).unwrap_or(i64::MAX - 1);
        self.shared.metrics.readers.set(readers);
    }

    fn next(&mut self) -> Next {
        loop {
            self.let_go();
            let mut inner = self.shared.inner.lock();
            if let Some(job) = inner.jobs.pop_front() {
                return Next::Job(job);
            }
            if inner.closing {
                return Next::Stop;
            }
            if compact::is_due(&self.meta) && inner.defragmenting.is_none() {
                return Next::Compact;
            }
            if self.flushed.is_empty() && self.replaced.is_empty() {
                self.shared.wake.wait(&mut inner);
            } else {
                self.shared.wake.wait_for(&mut inner, LET_GO_PAUSE);
            }
        }
    }

    fn flush(&mut self, frozen: Frozen, done: Done) -> Result<(), Fault> {
        if !self.shared.store.is_frozen(&frozen.layer) {
            tracing::debug!(revision = frozen.revision, "not flushed: a later state is installed");
            return Ok(());
        }
        let started = Instant::now();
        let base = self.shared.inner.lock().base.clone();
        let txn = begin(&self.database)?;
        merge(&txn, &frozen, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.install(true)?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::debug!(revision = frozen.revision, seconds, "flushed");
        self.flushed.push(frozen.layer);
        done(Ok(()));
        Ok(())
    }

    fn compact(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        let walk = *self.walk.get_or_insert(started);
        let base = self.shared.inner.lock().base.clone();
        let txn = begin(&self.database)?;
        let deleted = compact::step(&txn, COMPACT_ROWS, base.counts(), &mut self.meta)?;
        txn.commit().map_err(fault)?;
        self.shared.metrics.compacted_keys.inc_by(deleted);
        self.install(false)?;
        self.measure_compaction(started, walk);
        self.tell_deleted();
        Ok(())
    }

    /// Tells those who wait for history to be deleted.
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

    /// A step of a compaction is done.
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

    /// Does the last step of a defragmentation and goes on in the new file.
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
        let old = self.switch(database, file)?;
        self.install(false)?;
        self.meta = self.shared.inner.lock().base.meta().clone();
        self.shared.directory.remove(old).map_err(fault)?;
        end_defragmentation(&self.shared, Ok(()));
        Ok(())
    }

    /// Makes a received state the one in use.
    fn replace(&mut self, received: Received, done: Installed) -> Result<(), Fault> {
        if received.applied() <= self.meta.applied {
            let (it, we) = (received.applied(), self.meta.applied);
            drop(received);
            done(Err(format!("the received state ends at {it:?}, the database at {we:?}")));
            return Ok(());
        }
        let Received { base, restored, database, file } = received;
        let old = self.switch(database, file)?;
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
        tracing::info!(revision = restored.revision, "another member's state is installed");
        self.tell_deleted();
        done(Ok(restored));
        Ok(())
    }

    /// Goes on in another file: from here on it is the one that a restart finds. Returns the number
    /// of the old one.
    fn switch(&mut self, database: Arc<Database>, file: NewFile) -> Result<u64, Fault> {
        // Whether the switch ends well or not: a restart removes the one that it does not need.
        let number = file.keep();
        self.shared.directory.set_current(number).map_err(fault)?;
        self.database = database;
        Ok(std::mem::replace(&mut self.number, number))
    }

    /// Shows the last commit to readers.
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
        let meta = inner.base.meta();
        let in_use = meta.latest_bytes + meta.history_bytes;
        inner.sizes = Sizes { allocated, in_use };
        Ok(())
    }
}
