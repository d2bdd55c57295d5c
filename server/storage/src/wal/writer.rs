//! The thread that writes the log.
//!
//! It takes the records that were queued while it wrote the previous group, writes them as one
//! group with one write and one sync, and calls every waiting [`Done`]. There is no timer: a single
//! record is written at once; under load, groups grow with the number of writers.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::Ending;
use quorate_core::planted::{self, Mistake};

use super::index::Location;
use super::preparation::{Preparation, SHORTEST_BYTES, reserve};
use super::record::{GROUP_HEADER_LEN, Record, bitmap_len, seal_group};
use super::recovery::SegmentEnd;
use super::segment::{self, AlignedBuffer, BLOCK, SegmentFile, WriteMode};
use super::state::{Done, QueueItem, WalShared, WalState};
use crate::format::DATA_FORMAT;
use crate::{retry, space};

/// Maximum bytes of records in a group, unless one record is larger. It bounds the time of a sync.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Size of the first segment. Each later segment is twice as large, up to the configured size, so
/// that a small store stays small.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// The next segment is prepared once `1 / PREPARE_AT_PART` of the current one is written.
const PREPARE_AT_PART: u64 = 4;
/// Bytes left in a segment for [`Record::Continued`].
const CONTINUED_ROOM: usize = BLOCK;
/// Pause before the preparing thread is started again after the system refused a thread.
const START_PAUSE: Duration = Duration::from_secs(1);

/// The state of the writing thread.
pub(super) struct Writer {
    shared: Arc<WalShared>,
    dir: PathBuf,
    mode: WriteMode,
    segment_bytes_max: u64,
    file: Option<SegmentFile>,
    segment: u64,
    length: u64,
    groups: u64,
    origin: u64,
    /// Content of the segment from `origin` on: durable bytes of the last block, then the group
    /// that is being built.
    content: Vec<u8>,
    blocks: AlignedBuffer,
    preparation: Option<Preparation>,
    /// Time of the last failure to start the preparing thread.
    not_started: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<WalShared>,
        dir: PathBuf,
        direct_io: bool,
        segment_bytes_max: u64,
        end: Option<SegmentEnd>,
    ) -> io::Result<Self> {
        let mut writer = Self {
            shared,
            dir,
            mode: if direct_io { WriteMode::Direct } else { WriteMode::Buffered },
            segment_bytes_max,
            file: None,
            segment: 0,
            length: 0,
            groups: 0,
            origin: 0,
            content: Vec::new(),
            blocks: AlignedBuffer::zeroed(BLOCK),
            preparation: None,
            not_started: None,
        };
        if let Some(end) = end {
            let path = segment::path_of(&writer.dir, end.segment);
            writer.set_file(SegmentFile::open(&path, writer.mode)?);
            writer.segment = end.segment;
            writer.length = end.length;
            writer.groups = end.groups;
            writer.origin = end.origin;
            writer.content = end.head;
            if writer.groups == 0 {
                // An earlier process ended after it made the segment and before it wrote the first
                // group.
                writer.begin()?;
            }
        } else {
            // Make a segment even for an empty log: a log without segments was lost.
            writer.roll(0)?;
        }
        reserve(&writer.dir, writer.segment_bytes_max);
        Ok(writer)
    }

    fn set_file(&mut self, file: SegmentFile) {
        self.mode = file.mode();
        self.file = Some(file);
    }

    /// Writes until the log is closed. An error ends the thread: a failed write or sync is never
    /// retried, because the content of the page cache is then unknown. A full disk is no such
    /// error: the log waits for space, and so do all calls that wait for the log.
    pub(super) fn run(mut self) {
        while let Some(items) = self.next_items() {
            let started = Instant::now();
            if planted::has(Mistake::AcknowledgeBeforeWrite) {
                std::thread::sleep(Duration::from_millis(30));
            }
            match self.write(items) {
                Ok(dones) => {
                    self.shared.metrics.fsync.observe(started.elapsed().as_secs_f64());
                    dones.into_iter().for_each(|done| done(Ok(())));
                }
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            }
        }
        if let Some(preparation) = self.preparation.take() {
            preparation.abandon();
        }
    }

    /// Fails every waiting [`Done`], and then calls `on_fault`, because the process must stop.
    fn fail(&self, error: &io::Error) {
        let text = format!("cannot write the log in {}: {error}", self.dir.display());
        let waiting = {
            let mut state = self.shared.state.lock();
            state.failed = Some(text.clone());
            std::mem::take(&mut state.queue)
        };
        for item in waiting {
            if let QueueItem::Done(done) = item {
                done(Err(io::Error::other(text.clone())));
            }
        }
        // A full disk is no fault when the member stops and gives up waiting for space.
        if !(space::is_full(error) && self.shared.full_disk.is_disabled()) {
            (self.shared.on_fault)(Ending { reason: space::end_reason(error), text });
        }
    }

    /// Waits for records that must be written, and takes those of one group. `None` if the log is
    /// closed and everything is written.
    fn next_items(&self) -> Option<VecDeque<QueueItem>> {
        let mut state = self.shared.state.lock();
        state.writing_since = None;
        while !state.must_write {
            if state.closed && state.queue.is_empty() {
                return None;
            }
            if state.closed {
                break;
            }
            self.shared.wake.wait(&mut state);
        }
        let mut bytes = 0;
        let mut count = 0;
        for item in &state.queue {
            bytes += item.encoded_len();
            if count > 0 && bytes > GROUP_BYTES_MAX {
                break;
            }
            count += 1;
        }
        let items: VecDeque<QueueItem> = state.queue.drain(..count).collect();
        state.must_write = !state.queue.is_empty();
        state.writing_since = Some(Instant::now());
        Some(items)
    }

    /// Makes the records durable and returns the callbacks that wait for them.
    fn write(&mut self, items: VecDeque<QueueItem>) -> io::Result<Vec<Done>> {
        let mut records = Vec::with_capacity(items.len());
        let mut dones = Vec::new();
        for item in items {
            match item {
                QueueItem::Record(record) => records.push(record),
                QueueItem::Done(done) => dones.push(done),
            }
        }
        if !records.is_empty() {
            let size = group_size(&records);
            if self.origin + (self.content.len() + size + CONTINUED_ROOM) as u64 > self.length {
                self.roll(size as u64)?;
            }
            let placed = self.write_group(&records)?;
            self.publish(records, &placed)?;
        }
        self.prepare_next();
        Ok(dones)
    }

    /// Writes one group; returns the offset and length of each record.
    fn write_group(&mut self, records: &[Record]) -> io::Result<Vec<(usize, usize)>> {
        let start = self.content.len();
        let sizes: usize = records.iter().map(Record::encoded_len).sum();
        let bitmap = bitmap_len(sizes);
        self.content.resize(start + GROUP_HEADER_LEN + bitmap, 0);
        let mut placed = Vec::with_capacity(records.len());
        for record in records {
            let offset = self.content.len();
            record.encode(&mut self.content);
            placed.push((offset, self.content.len() - offset));
        }
        seal_group(&mut self.content, start, bitmap, self.segment, self.groups);
        let file = self.file.as_ref().expect("a segment is open");
        let blocks = self.blocks.fill(&self.content);
        let origin = self.origin;
        // A retry writes the same blocks to the same offset. File systems that write in place have
        // the segment's space already; others can run out of space here.
        let took = self
            .shared
            .full_disk
            .retry(&self.dir, blocks.len() as u64, || file.write_durably(blocks, origin))?;
        self.shared.metrics.write.observe(took.as_secs_f64());
        self.shared.metrics.written_bytes.add((self.content.len() - start) as f64);
        self.groups += 1;
        let base = usize::try_from(self.origin).expect("segments are below 4 GiB");
        placed.iter_mut().for_each(|(offset, _)| *offset += base);
        let whole = self.content.len() - self.content.len() % BLOCK;
        self.content.drain(..whole);
        self.origin += whole as u64;
        Ok(placed)
    }

    /// Publishes the written records to readers, and deletes segments that are purged completely.
    fn publish(&self, records: Vec<Record>, placed: &[(usize, usize)]) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        let mut purged = false;
        for (record, (offset, length)) in records.into_iter().zip(placed) {
            match record {
                Record::Entry(entry) => {
                    let location = Location {
                        segment: self.segment,
                        offset: u32::try_from(*offset).expect("segments are below 4 GiB"),
                        length: u32::try_from(*length).expect("segments are below 4 GiB"),
                        term: entry.position.term,
                    };
                    state.entry_written(entry.position.index, location);
                }
                Record::TruncateAfter(last) => {
                    state.written.truncate_after(last.map(|last| last.index));
                }
                Record::Purge(upto) => {
                    state.written.purge(upto.index);
                    state.durable.purged = Some(upto);
                    purged = true;
                }
                Record::Vote(vote) => state.durable.vote = Some(vote),
                Record::Committed(committed) => state.durable.committed = Some(committed),
                Record::Segment { .. } | Record::Continued => {}
            }
        }
        let written = state.written.last();
        state.cache.shrink(written);
        let doomed = if purged { state.take_unneeded_segments(self.segment) } else { Vec::new() };
        drop(state);
        for number in doomed {
            std::fs::remove_file(segment::path_of(&self.dir, number))?;
        }
        Ok(())
    }

    /// Continues in a new segment. Its first group repeats the vote and the purged and committed
    /// positions, so that older segments can be deleted.
    fn roll(&mut self, group: u64) -> io::Result<()> {
        let number = self.segment + 1;
        let room = group + 2 * BLOCK as u64 + 4096;
        let ready = match self.prepared(room)? {
            Some(length) => length,
            None => self.make_segment(number, room)?,
        };
        segment::adopt(&self.dir, number)?;
        if self.file.is_some() {
            self.write_group(&[Record::Continued])?;
        }
        let path = segment::path_of(&self.dir, number);
        self.set_file(retry::open(|| SegmentFile::open(&path, self.mode))?);
        self.segment = number;
        self.length = ready;
        self.groups = 0;
        self.origin = 0;
        self.content.clear();
        let read = retry::open(|| std::fs::File::open(&path))?;
        self.shared.state.lock().add_segment(number, read);
        self.begin()
    }

    /// Waits for the segment that is being prepared. Returns its length if it has at least `room`
    /// bytes; `None` if it is too short, was not prepared, or found no disk space.
    fn prepared(&mut self, room: u64) -> io::Result<Option<u64>> {
        let Some(preparation) = self.preparation.take() else { return Ok(None) };
        match preparation.finish() {
            Ok(length) => Ok(Some(length).filter(|length| *length >= room)),
            // The caller has other ways to make a segment.
            Err(error) if space::is_full(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a segment while writes wait. If the disk is full, it uses the reserve file, then the
    /// space within the margin, and then it waits for space.
    fn make_segment(&self, number: u64, room: u64) -> io::Result<u64> {
        let least = room.next_multiple_of(BLOCK as u64);
        let longest = self.next_length().max(least);
        self.shared.full_disk.retry(&self.dir, least, || {
            match Preparation::start(&self.dir, number, least..=longest)?.finish() {
                Err(error) if space::is_full(&error) => {}
                made => return made,
            }
            if segment::reserved(&self.dir) >= least {
                tracing::warn!(dir = %self.dir.display(), "the log uses its reserved disk space");
                return segment::use_reserve(&self.dir, number);
            }
            let length = least.max(SHORTEST_BYTES.min(self.segment_bytes_max));
            segment::prepare(&self.dir, number, length, &mut || true)?;
            Ok(length)
        })
    }

    /// Writes the first group of a segment.
    fn begin(&mut self) -> io::Result<()> {
        let header = segment_header(&self.shared.state.lock(), self.length);
        self.write_group(&header)?;
        Ok(())
    }

    fn next_length(&self) -> u64 {
        (self.length * 2).max(FIRST_SEGMENT_BYTES).min(self.segment_bytes_max)
    }

    /// Starts to prepare the next segment once enough of the current one is written.
    fn prepare_next(&mut self) {
        if self.preparation.is_some() || self.origin < self.length / PREPARE_AT_PART {
            return;
        }
        if self.not_started.is_some_and(|at| at.elapsed() < START_PAUSE) {
            return;
        }
        let longest = self.next_length();
        let lengths = SHORTEST_BYTES.min(longest)..=longest;
        match Preparation::start(&self.dir, self.segment + 1, lengths) {
            Ok(preparation) => {
                self.preparation = Some(preparation);
                self.not_started = None;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot start the thread that prepares the next segment");
                self.not_started = Some(Instant::now());
            }
        }
    }
}

/// The first records of a segment: the durable state at its start. Queued changes follow in order.
fn segment_header(state: &WalState, length: u64) -> Vec<Record> {
    let mut records = vec![Record::Segment { format: DATA_FORMAT, length }];
    records.extend(state.durable.vote.clone().map(Record::Vote));
    records.extend(state.durable.purged.map(Record::Purge));
    records.extend(state.durable.committed.map(Record::Committed));
    records
}

/// Maximum bytes that a group of these records can take.
fn group_size(records: &[Record]) -> usize {
    let sizes: usize = records.iter().map(Record::encoded_len).sum();
    GROUP_HEADER_LEN + bitmap_len(sizes) + sizes + 8
}
