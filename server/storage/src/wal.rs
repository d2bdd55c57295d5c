//! The write-ahead log: the raft log, the vote and the committed position, durable.
//!
//! ```text
//!   append, save_vote, ... --> queue --> writing thread --> segment file --> Done(Ok)
//!          |                                  one write and one sync for a group
//!          +--> tail in memory <-- read
//! ```
//!
//! Everything goes through one queue in one order, so that a vote can never become durable after an
//! entry that was appended later. `record` describes the format, `recovery` what is made of a
//! log whose end was being written when the power went.
//!
//! # Invariants
//! - Entries have consecutive indexes. Reading finds an entry as soon as `append` returned.
//! - A [`Done`] is called with `Ok` only when everything queued before it is durable.
//! - After a failed write nothing is written any more and every [`Done`] says so.
//! - What finds no room on the disk waits for it; nobody is told anything meanwhile.

mod index;
mod metrics;
mod preparation;
mod record;
mod recovery;
mod segment;
mod torn;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use quorate_core::LogPosition;
use quorate_core::planted::{self, Mistake};

use crate::OnFault;
use crate::space::{Disk, Waiting};
use index::{Location, Run, Tail};
pub use metrics::Metrics;
pub(crate) use preparation::patiently;
pub use record::Entry;
use record::Record;
pub use recovery::RecoveryError;

/// Whether a log was begun in `dir`.
pub(crate) fn exists(dir: &Path) -> bool {
    match segment::list(dir) {
        Ok(segments) => !segments.is_empty(),
        // What is wrong with it is told by whoever opens it.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Called once: when everything queued before it is durable, or when it cannot become so.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment in bytes; the first ones are smaller.
    pub segment_bytes_max: u64,
    /// Entries held in memory, in bytes.
    pub tail_bytes_max: usize,
    /// Whether to write around the page cache where the file system can.
    pub direct_io: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, tail_bytes_max: 16 << 20, direct_io: true }
    }
}

/// Where the log begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last vote cast, as it was given.
    pub vote: Option<Bytes>,
    /// The last position known to be committed; may be older than what was saved last.
    pub committed: Option<LogPosition>,
    /// The last purged position.
    pub purged: Option<LogPosition>,
    /// The last entry, or the last purged position when there is none.
    pub last: Option<LogPosition>,
}

/// Something queued for the writing thread.
enum Item {
    Record(Record),
    Done(Done),
}

impl Item {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Record(record) => record.encoded_len(),
            Self::Done(_) => 0,
        }
    }
}

/// A segment on disk.
struct Segment {
    file: Arc<File>,
    last_index: Option<u64>,
}

/// The state of the log, under one lock.
struct Inner {
    queue: VecDeque<Item>,
    must_write: bool,
    closed: bool,
    failed: Option<String>,
    /// Since when the group that is being written is.
    writing_since: Option<Instant>,
    /// As the last call left the log.
    state: LogState,
    /// As the disk has it, but for `last`.
    durable: LogState,
    tail: Tail,
    written: Run<Location>,
    segments: BTreeMap<u64, Segment>,
}

impl Inner {
    fn queue(&mut self, record: Record) {
        self.queue.push_back(Item::Record(record));
    }

    fn entry_written(&mut self, index: u64, location: Location) {
        self.written.push(index, location);
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.last_index = segment.last_index.max(Some(index));
        }
    }

    fn add_segment(&mut self, number: u64, file: File) {
        self.segments.insert(number, Segment { file: Arc::new(file), last_index: None });
    }

    /// Takes out the segments in which every entry is purged. Only a prefix is taken: the log has
    /// no holes.
    fn take_unneeded_segments(&mut self, active: u64) -> Vec<u64> {
        let purged = self.durable.purged.map(|purged| purged.index);
        let unneeded = self
            .segments
            .iter()
            .take_while(|(number, segment)| **number < active && segment.last_index <= purged);
        let numbers: Vec<u64> = unneeded.map(|(number, _)| *number).collect();
        for number in &numbers {
            self.segments.remove(number);
        }
        numbers
    }
}

struct Shared {
    inner: Mutex<Inner>,
    wake: Condvar,
    on_fault: OnFault,
    metrics: Metrics,
    waiting: Waiting,
}

/// The log. Dropping it writes what is queued and stops the thread.
pub struct Wal {
    shared: Arc<Shared>,
    dir: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, or begins one. `on_fault` is called when the log cannot be written;
    /// the process must then stop.
    pub fn open(dir: &Path, options: &Options, on_fault: OnFault) -> Result<Self, RecoveryError> {
        let io_error = |source| RecoveryError::Io { path: dir.to_owned(), source };
        crate::data_dir::create_private(dir).map_err(io_error)?;
        let mut recovered = recovery::recover(dir)?;
        segment::remove_unfinished(dir).map_err(io_error)?;
        let state = LogState {
            vote: recovered.vote.take(),
            committed: recovered.committed,
            purged: recovered.purged,
            last: recovered.last(),
        };
        let mut segments = BTreeMap::new();
        for (number, last_index) in &recovered.segments {
            let file = File::open(segment::path_of(dir, *number)).map_err(io_error)?;
            let segment = Segment { file: Arc::new(file), last_index: *last_index };
            segments.insert(*number, segment);
        }
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                queue: VecDeque::new(),
                writing_since: None,
                must_write: false,
                closed: false,
                failed: None,
                durable: state.clone(),
                state,
                tail: Tail::new(options.tail_bytes_max),
                written: recovered.entries,
                segments,
            }),
            wake: Condvar::new(),
            on_fault,
            metrics: Metrics::default(),
            waiting: Waiting::default(),
        });
        let end = recovered.end;
        let (direct, length) = (options.direct_io, options.segment_bytes_max);
        let writer = writer::Writer::new(shared.clone(), dir.to_owned(), direct, length, end)
            .map_err(io_error)?;
        shared.waiting.allow();
        let thread = std::thread::Builder::new().name("wal".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(io_error)?;
        Ok(Self { shared, dir: dir.to_owned(), thread: Some(thread) })
    }

    /// What the log measures.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where the log begins and ends, after everything that was called so far.
    pub fn state(&self) -> LogState {
        self.shared.inner.lock().state.clone()
    }

    /// Bytes of the segments on disk.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Appends entries, whose indexes follow the last one's.
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>, done: Done) {
        self.change(done, |inner| {
            for entry in entries {
                inner.state.last = Some(entry.position);
                inner.tail.push(entry.clone());
                inner.queue(Record::Entry(entry));
            }
        });
    }

    /// Saves the vote.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.change(done, |inner| {
            inner.state.vote = Some(vote.clone());
            if !planted::has(Mistake::LoseVote) {
                inner.queue(Record::Vote(vote));
            }
        });
    }

    /// Saves the committed position with the next group that is written for another reason. It can
    /// be lost; what was committed is found again by the raft protocol.
    pub fn save_committed(&self, committed: LogPosition) {
        let mut inner = self.shared.inner.lock();
        inner.state.committed = Some(committed);
        if let Some(Item::Record(Record::Committed(last))) = inner.queue.back_mut() {
            *last = committed;
            return;
        }
        inner.queue(Record::Committed(committed));
    }

    /// Removes the entries behind `last`; all of them for `None`.
    pub fn truncate_after(&self, last: Option<LogPosition>, done: Done) {
        self.change(done, |inner| {
            inner.state.last = last.or(inner.state.purged);
            inner.tail.truncate_after(last);
            inner.queue(Record::TruncateAfter(last));
        });
    }

    /// Removes the entries up to and including `upto`, which may lie behind the last one.
    pub fn purge(&self, upto: LogPosition, done: Done) {
        self.change(done, |inner| {
            inner.state.purged = Some(upto);
            // By index alone: what lay before `upto` may have a higher term, and is gone.
            if inner.state.last.is_none_or(|last| last.index <= upto.index) {
                inner.state.last = Some(upto);
            }
            inner.tail.purge(upto.index);
            inner.queue(Record::Purge(upto));
        });
    }

    /// The last entry that need not be kept for the newest segments to take at least `bytes`;
    /// `None` while all of them together take no more.
    pub fn last_beyond(&self, bytes: u64) -> io::Result<Option<u64>> {
        let inner = self.shared.inner.lock();
        let mut kept = 0;
        for segment in inner.segments.values().rev() {
            if kept > bytes {
                return Ok(segment.last_index);
            }
            kept += segment.file.metadata()?.len();
        }
        Ok(None)
    }

    /// Calls `done` when everything queued so far is durable.
    pub fn sync(&self, done: Done) {
        self.change(done, |_| {});
    }

    /// The entries from index `from` on and below `to`, as many as there are and not more than
    /// `bytes_max` bytes of them, but at least one.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = from;
        while index < to && (bytes < bytes_max || entries.is_empty()) {
            let place = {
                let inner = self.shared.inner.lock();
                // What is on disk lags behind: it may still hold entries that were truncated.
                if inner.state.last.is_none_or(|last| index > last.index) {
                    break;
                }
                if inner.tail.first().is_some_and(|first| index >= first) {
                    read_tail(&inner.tail, index, to, bytes_max, &mut bytes, &mut entries);
                    return Ok(entries);
                }
                inner
                    .written
                    .get(index)
                    .map(|at| (*at, inner.segments.get(&at.segment)))
                    .and_then(|(at, segment)| Some((at, segment?.file.clone())))
            };
            let Some((location, file)) = place else { break };
            let entry = read_entry(&file, location, index)?;
            bytes += entry.payload.len();
            entries.push(entry);
            index += 1;
        }
        Ok(entries)
    }

    /// The disk that the log lies on.
    pub fn disk(&self) -> io::Result<Disk> {
        Disk::of(&self.dir)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether the log waits for room on its disk.
    pub fn waits_for_room(&self) -> bool {
        self.shared.waiting.is_waited()
    }

    /// Has the log fail where it waits for room, or will: the member is to end.
    pub fn give_up_room(&self) {
        self.shared.waiting.end();
    }

    /// How long the disk has been at the group it is writing; zero when it writes nothing.
    pub fn stalled_for(&self) -> Duration {
        let since = self.shared.inner.lock().writing_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The term of the entry at `index`, if it is in the log.
    pub fn term(&self, index: u64) -> Option<u64> {
        let inner = self.shared.inner.lock();
        if inner.state.last.is_none_or(|last| index > last.index) {
            return None;
        }
        let in_memory = inner.tail.get(index).map(|entry| entry.position.term);
        in_memory.or_else(|| inner.written.get(index).map(|location| location.term))
    }

    fn change(&self, done: Done, change: impl FnOnce(&mut Inner)) {
        let done = match planted::has(Mistake::AcknowledgeBeforeWrite) {
            true => {
                done(Ok(()));
                Box::new(drop)
            }
            false => done,
        };
        let mut inner = self.shared.inner.lock();
        if let Some(failed) = &inner.failed {
            let error = io::Error::other(failed.clone());
            drop(inner);
            done(Err(error));
            return;
        }
        change(&mut inner);
        inner.queue.push_back(Item::Done(done));
        inner.must_write = true;
        drop(inner);
        self.shared.wake.notify_one();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.waiting.end();
        self.shared.inner.lock().closed = true;
        self.shared.wake.notify_one();
        crate::join(self.thread.take(), "writes the log");
    }
}

fn read_tail(
    tail: &Tail,
    from: u64,
    to: u64,
    bytes_max: usize,
    bytes: &mut usize,
    entries: &mut Vec<Entry>,
) {
    const RESERVED_MAX: u64 = 1024;
    entries.reserve(to.saturating_sub(from).min(RESERVED_MAX) as usize);
    for index in from..to {
        let Some(entry) = tail.get(index) else { return };
        if *bytes >= bytes_max && !entries.is_empty() {
            return;
        }
        *bytes += entry.payload.len();
        entries.push(entry.clone());
    }
}

fn read_entry(file: &File, at: Location, index: u64) -> io::Result<Entry> {
    let mut record = vec![0; at.length as usize];
    file.read_exact_at(&mut record, u64::from(at.offset))?;
    match Record::decode(&record) {
        Some((Record::Entry(entry), _)) if entry.position.index == index => Ok(entry),
        _ => {
            let text = format!("log entry {index} is damaged in segment {:x}", at.segment);
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}
