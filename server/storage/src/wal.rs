//! The write-ahead log: durable storage of the Raft log, the vote and the committed position.
//!
//! ```text
//!   append, save_vote, ... --> queue --> writing thread --> segment file --> Done(Ok)
//!          |                                  one write and one sync for a group
//!          +--> entry cache <-- read
//! ```
//!
//! All records go through one queue in order, so that an entry never becomes durable before a vote
//! that was saved earlier. `record` describes the format; `recovery` describes how a log is read
//! after a crash interrupted its last write.
//!
//! # Invariants
//! - Entries have consecutive indexes. `read` finds an entry as soon as `append` has returned.
//! - A [`Done`] is called with `Ok` only when everything queued before it is durable.
//! - After a failed write, the log writes nothing more, and calls every [`Done`] with an error.
//! - A write that finds the disk full waits for space; until then no [`Done`] is called.

mod error;
mod index;
mod metrics;
mod preparation;
mod record;
mod recovery;
mod segment;
mod state;
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
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use quorate_core::LogPosition;
use quorate_core::planted::{self, Mistake};

use crate::OnFault;
use crate::space::{Disk, FullDiskRetry};
pub use error::{LogDamage, RecoveryError};
use index::{EntryCache, Location};
pub use metrics::Metrics;
pub use record::Entry;
use record::Record;
pub use state::{Done, LogState};
use state::{QueueItem, Segment, WalShared, WalState};

/// Whether `dir` has a log.
///
/// # Errors
/// The directory has other files, or cannot be listed.
pub(crate) fn has_segments(dir: &Path) -> io::Result<bool> {
    match segment::list(dir) {
        Ok(segments) => Ok(!segments.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Options of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a segment in bytes; the first segments are smaller.
    pub segment_bytes_max: u64,
    /// Maximum bytes of written entries to keep in memory.
    pub cache_bytes_max: usize,
    /// Whether to bypass the page cache where the file system allows it.
    pub direct_io: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, cache_bytes_max: 16 << 20, direct_io: true }
    }
}

/// The log. Dropping it writes the queue and stops the writing thread.
pub struct Wal {
    shared: Arc<WalShared>,
    dir: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, or creates one. `on_fault` is called when the log cannot be written;
    /// the process must then stop.
    ///
    /// # Errors
    /// The log is damaged, or the system reported an error. The error names the file.
    pub fn open(dir: &Path, options: &Options, on_fault: OnFault) -> Result<Self, RecoveryError> {
        let io_error = |source| RecoveryError::Io { path: dir.to_owned(), source };
        crate::sync::create_dir(dir).map_err(io_error)?;
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
        let shared = Arc::new(WalShared {
            state: Mutex::new(WalState {
                queue: VecDeque::new(),
                writing_since: None,
                must_write: false,
                closed: false,
                failed: None,
                durable: state.clone(),
                queued: state,
                cache: EntryCache::new(options.cache_bytes_max),
                written: recovered.entries,
                segments,
            }),
            wake: Condvar::new(),
            on_fault,
            metrics: Metrics::default(),
            full_disk: FullDiskRetry::default(),
        });
        let end = recovered.end;
        let direct = options.direct_io;
        let length = options.segment_bytes_max;
        let writer = writer::Writer::new(shared.clone(), dir.to_owned(), direct, length, end)
            .map_err(io_error)?;
        shared.full_disk.enable();
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
        self.shared.state.lock().queued.clone()
    }

    /// Bytes of all files in the log's directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Appends entries. Their indexes must follow that of the last entry.
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>, done: Done) {
        self.change(done, |state| {
            for entry in entries {
                state.queued.last = Some(entry.position);
                state.cache.push(entry.clone());
                state.queue(Record::Entry(entry));
            }
        });
    }

    /// Saves the vote.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        self.change(done, |state| {
            state.queued.vote = Some(vote.clone());
            if !planted::has(Mistake::LoseVote) {
                state.queue(Record::Vote(vote));
            }
        });
    }

    /// Queues the committed position, which is written together with the next call that waits for
    /// the disk. A crash can lose it: the Raft protocol finds the committed position again.
    pub fn save_committed(&self, committed: LogPosition) {
        let mut state = self.shared.state.lock();
        state.queued.committed = Some(committed);
        if let Some(QueueItem::Record(Record::Committed(last))) = state.queue.back_mut() {
            *last = committed;
            return;
        }
        state.queue(Record::Committed(committed));
    }

    /// Removes the entries after `last`; all entries for `None`.
    pub fn truncate_after(&self, last: Option<LogPosition>, done: Done) {
        self.change(done, |state| {
            state.queued.last = last.or(state.queued.purged);
            state.cache.truncate_after(last);
            state.queue(Record::TruncateAfter(last));
        });
    }

    /// Removes the entries up to and including `upto`, which may be after the last entry.
    pub fn purge(&self, upto: LogPosition, done: Done) {
        self.change(done, |state| {
            state.queued.purged = Some(upto);
            // Compare the index only: an entry below `upto` may have a higher term, and is purged.
            if state.queued.last.is_none_or(|last| last.index <= upto.index) {
                state.queued.last = Some(upto);
            }
            state.cache.purge(upto.index);
            state.queue(Record::Purge(upto));
        });
    }

    /// Index of the last entry before the newest segments that together take more than `bytes`. A
    /// purge up to it leaves at least `bytes` of log. `None` if there is no such entry.
    ///
    /// # Errors
    /// The size of a segment cannot be read.
    pub fn last_beyond(&self, bytes: u64) -> io::Result<Option<u64>> {
        let state = self.shared.state.lock();
        let mut kept = 0;
        for segment in state.segments.values().rev() {
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

    /// The consecutive entries in `from..to`, beginning with entry `from`; none if the log does not
    /// have that entry. Ends once it has `bytes_max` bytes of payloads, but returns at least one
    /// entry if there is one.
    ///
    /// # Errors
    /// An entry cannot be read from disk, or fails its checksum.
    pub fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = from;
        while index < to && (bytes < bytes_max || entries.is_empty()) {
            let place = {
                let state = self.shared.state.lock();
                // `written` lags behind: it may have entries that a queued truncation removes.
                if state.queued.last.is_none_or(|last| index > last.index) {
                    break;
                }
                if state.cache.first().is_some_and(|first| index >= first) {
                    read_cache(&state.cache, index, to, bytes_max, &mut bytes, &mut entries);
                    return Ok(entries);
                }
                state
                    .written
                    .get(index)
                    .map(|at| (*at, state.segments.get(&at.segment)))
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
    ///
    /// # Errors
    /// `Unsupported` if the file system does not report its size.
    pub fn disk(&self) -> io::Result<Disk> {
        Disk::of(&self.dir)
    }

    /// The directory of the log.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether the log waits for disk space.
    pub fn waits_for_space(&self) -> bool {
        self.shared.full_disk.is_waiting()
    }

    /// Makes the log fail instead of waiting for disk space, now and later. Call it when the member
    /// stops.
    pub fn stop_waiting_for_space(&self) {
        self.shared.full_disk.disable();
    }

    /// Duration of the write in progress so far; zero without one.
    pub fn stalled_for(&self) -> Duration {
        let since = self.shared.state.lock().writing_since;
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Index of the first entry, or of the next one to append if the log is empty.
    pub fn first(&self) -> u64 {
        let state = self.shared.state.lock();
        let next = |position: Option<LogPosition>| position.map_or(0, |it| it.index + 1);
        // `written` lags behind: it may have entries that a queued purge removes.
        let first = state.written.first().into_iter().chain(state.cache.first()).min();
        first.unwrap_or_else(|| next(state.queued.last)).max(next(state.queued.purged))
    }

    /// The term of the entry at `index`, if it is in the log.
    pub fn term(&self, index: u64) -> Option<u64> {
        let state = self.shared.state.lock();
        if state.queued.last.is_none_or(|last| index > last.index) {
            return None;
        }
        let in_memory = state.cache.get(index).map(|entry| entry.position.term);
        in_memory.or_else(|| state.written.get(index).map(|location| location.term))
    }

    fn change(&self, done: Done, change: impl FnOnce(&mut WalState)) {
        let mut done = done;
        if planted::has(Mistake::AcknowledgeBeforeWrite) {
            done(Ok(()));
            done = Box::new(drop);
        }
        let mut state = self.shared.state.lock();
        if let Some(failed) = &state.failed {
            let error = io::Error::other(failed.clone());
            drop(state);
            done(Err(error));
            return;
        }
        change(&mut state);
        state.queue.push_back(QueueItem::Done(done));
        state.must_write = true;
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.full_disk.disable();
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
        crate::join(self.thread.take(), "writes the log");
    }
}

fn read_cache(
    cache: &EntryCache,
    from: u64,
    to: u64,
    bytes_max: usize,
    bytes: &mut usize,
    entries: &mut Vec<Entry>,
) {
    const RESERVED_MAX: u64 = 1024;
    entries.reserve(to.saturating_sub(from).min(RESERVED_MAX) as usize);
    for index in from..to {
        let Some(entry) = cache.get(index) else { return };
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
