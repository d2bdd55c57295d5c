//! The write-ahead log: durable storage of the Raft log, the vote and the committed position.
//!
//! ```text
//!   append, save_vote, ... --> queue --> writing thread --> segment file --> Done(Ok)
//!          |                                  one write and one sync for a group
//!          +--> tail in memory <-- read
//! ```
//!
//! All records go through one queue in order, so that an entry never becomes durable before a vote
//! that was saved earlier. `record` describes the format; `recovery` describes how a log is read
//! whose last write was interrupted by a crash.
//!
//! # Invariants
//! - Entries have consecutive indexes. `read` finds an entry as soon as `append` has returned.
//! - A [`Done`] is called with `Ok` only when everything queued before it is durable.
//! - After a failed write nothing is written any more, and every [`Done`] is called with an error.
//! - A write that finds the disk full waits for space; no [`Done`] is called meanwhile.

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

/// Whether `dir` has a log.
pub(crate) fn exists(dir: &Path) -> bool {
    match segment::list(dir) {
        Ok(segments) => !segments.is_empty(),
        // A log that cannot be listed exists; opening it reports the error.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Called once: when everything queued before it is durable, or when the log has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Options of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment in bytes; the first segments are smaller.
    pub segment_bytes_max: u64,
    /// Most bytes of written entries to keep in memory.
    pub tail_bytes_max: usize,
    /// Whether to bypass the page cache where the file system allows it.
    pub direct_io: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, tail_bytes_max: 16 << 20, direct_io: true }
    }
}

/// The vote, the committed position, and the first and last position of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last saved vote, opaque here.
    pub vote: Option<Bytes>,
    /// The committed position; after a restart it may be older than the last one saved.
    pub committed: Option<LogPosition>,
    /// The last purged position.
    pub purged: Option<LogPosition>,
    /// The last entry, or the last purged position when there is none.
    pub last: Option<LogPosition>,
}

/// An item in the queue of the writing thread.
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
    /// Start of the write in progress.
    writing_since: Option<Instant>,
    /// The state with everything that is queued.
    state: LogState,
    /// The state on disk, except that `last` is not maintained.
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

    /// Removes the segments in which every entry is purged, and returns their numbers. Removes only
    /// the oldest consecutive segments, because the log must not have holes.
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

/// The log. Dropping it writes the queue and stops the writing thread.
pub struct Wal {
    shared: Arc<Shared>,
    dir: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, or creates one. `on_fault` is called when the log cannot be written;
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
        let direct = options.direct_io;
        let length = options.segment_bytes_max;
        let writer = writer::Writer::new(shared.clone(), dir.to_owned(), direct, length, end)
            .map_err(io_error)?;
        shared.waiting.allow();
        let thread = std::thread::Builder::new().name("wal".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(io_error)?;
        Ok(Self { shared, dir: dir.to_owned(), thread: Some(thread) })
    }

    /// The metrics of the log.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The state after all calls so far, durable or not.
    pub fn state(&self) -> LogState {
        self.shared.inner.lock().state.clone()
    }

    /// Bytes of all files in the log's directory.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Appends entries. Their indexes must follow that of the last entry.
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

    /// Queues the committed position, which is written together with the next call that waits for
    /// the disk. A crash can lose it: the Raft protocol finds the committed position again.
    pub fn save_committed(&self, committed: LogPosition) {
        let mut inner = self.shared.inner.lock();
        inner.state.committed = Some(committed);
        if let Some(Item::Record(Record::Committed(last))) = inner.queue.back_mut() {
            *last = committed;
            return;
        }
        inner.queue(Record::Committed(committed));
    }

    /// Removes the entries after `last`; all entries for `None`.
    pub fn truncate_after(&self, last: Option<LogPosition>, done: Done) {
        self.change(done, |inner| {
            inner.state.last = last.or(inner.state.purged);
            inner.tail.truncate_after(last);
            inner.queue(Record::TruncateAfter(last));
        });
    }

    /// Removes the entries up to and including `upto`, which may be after the last entry.
    pub fn purge(&self, upto: LogPosition, done: Done) {
        self.change(done, |inner| {
            inner.state.purged = Some(upto);
            // Compare the index only: an entry below `upto` may have a higher term, and is purged.
            if inner.state.last.is_none_or(|last| last.index <= upto.index) {
                inner.state.last = Some(upto);
            }
            inner.tail.purge(upto.index);
            inner.queue(Record::Purge(upto));
        });
    }

    /// Index of the last entry before the newest segments that together take more than `bytes`. A
    /// purge up to it leaves at least `bytes` of log. `None` if there is no such entry.
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

    /// The existing entries in `from..to`. Ends once it has `bytes_max` bytes of payloads, but
    /// returns at least one entry if there is one.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = from;
        while index < to && (bytes < bytes_max || entries.is_empty()) {
            let place = {
                let inner = self.shared.inner.lock();
                // `written` lags behind: it may have entries that a queued truncation removes.
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

    /// The file system of the log.
    pub fn disk(&self) -> io::Result<Disk> {
        Disk::of(&self.dir)
    }

    /// The directory of the log.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether the log waits for disk space.
    pub fn waits_for_room(&self) -> bool {
        self.shared.waiting.is_waited()
    }

    /// Makes the log fail instead of waiting for disk space, now and later. Call it when the member
    /// stops.
    pub fn give_up_room(&self) {
        self.shared.waiting.end();
    }

    /// Duration of the write in progress so far; zero without one.
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
        let mut done = done;
        if planted::has(Mistake::AcknowledgeBeforeWrite) {
            done(Ok(()));
            done = Box::new(drop);
        }
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
