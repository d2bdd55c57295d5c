//! The state of the log that its callers and the writing thread share.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use quorate_core::LogPosition;

use super::index::{EntryCache, IndexedRun, Location};
use super::metrics::Metrics;
use super::record::Record;
use crate::OnFault;
use crate::space::FullDiskRetry;

/// Called once: when everything queued before it is durable, or when the log has failed.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

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
pub(super) enum QueueItem {
    Record(Record),
    Done(Done),
}

impl QueueItem {
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Record(record) => record.encoded_len(),
            Self::Done(_) => 0,
        }
    }
}

/// A segment on disk, open for reads.
pub(super) struct Segment {
    pub(super) file: Arc<File>,
    /// The highest index of its entries, including removed entries.
    pub(super) last_index: Option<u64>,
}

/// The state of the log, under one lock.
pub(super) struct WalState {
    pub(super) queue: VecDeque<QueueItem>,
    /// Whether a call waits for a queued item to be durable.
    pub(super) must_write: bool,
    pub(super) closed: bool,
    /// Why the log can no longer be written.
    pub(super) failed: Option<String>,
    /// Start of the write in progress.
    pub(super) writing_since: Option<Instant>,
    /// The state with everything that is queued.
    pub(super) queued: LogState,
    /// The state on disk, except that `last` is not maintained.
    pub(super) durable: LogState,
    pub(super) cache: EntryCache,
    pub(super) written: IndexedRun<Location>,
    pub(super) segments: BTreeMap<u64, Segment>,
}

impl WalState {
    pub(super) fn queue(&mut self, record: Record) {
        self.queue.push_back(QueueItem::Record(record));
    }

    pub(super) fn entry_written(&mut self, index: u64, location: Location) {
        self.written.push(index, location);
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.last_index = segment.last_index.max(Some(index));
        }
    }

    pub(super) fn add_segment(&mut self, number: u64, file: File) {
        self.segments.insert(number, Segment { file: Arc::new(file), last_index: None });
    }

    /// Removes the segments in which every entry is purged, and returns their numbers. Removes only
    /// the oldest consecutive segments, because the log must not have holes.
    pub(super) fn take_unneeded_segments(&mut self, active: u64) -> Vec<u64> {
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

/// The state and the parts that the log and its writing thread share.
pub(super) struct WalShared {
    pub(super) state: Mutex<WalState>,
    pub(super) wake: Condvar,
    pub(super) on_fault: OnFault,
    pub(super) metrics: Metrics,
    pub(super) full_disk: FullDiskRetry,
}
