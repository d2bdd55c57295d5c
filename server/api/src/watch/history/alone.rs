//! Reads history for one watcher. Memory for its events is taken before they are kept, so that a
//! revision may have any number of them.

use std::sync::Arc;

use quorate_core::mvcc::{ChunkLimit, View};
use quorate_core::watch::Interest;
use quorate_core::watch::event::append_event;
use quorate_core::{Fault, Record, Revision};
use quorate_raft::Permit;

use crate::watch::frame::{Batch, MESSAGE_BYTES, PART_BYTES};

/// Size limit of one read. A piece can exceed it, because a main revision is never divided.
pub(super) const HISTORY_CHUNK: ChunkLimit = ChunkLimit { versions: 1000, bytes: MESSAGE_BYTES };
/// Events are kept in parts of about this many bytes, because each part costs [`PART_BYTES`] more.
const JOINED_BYTES: usize = 16 << 10;

/// The events of a piece of history for one watcher.
pub(super) struct Alone {
    /// The last main revision of the piece.
    pub(super) reached: i64,
    /// The events; `None` if the memory budget had no room for them.
    pub(super) batch: Option<Arc<Batch>>,
    /// Bytes of memory of the events, whether they were kept or not.
    pub(super) bytes: usize,
    /// The permit for the events.
    pub(super) room: Permit,
}

/// Reads the events of a watcher from main revision `from` on, which must not be above the view's
/// revision. The piece ends with the first main revision that fills a message or a chunk. The
/// events take `room`, and more memory if there is some. With `exceeds`, they are kept even if
/// there is none.
///
/// # Errors
/// The database cannot be read.
pub(super) fn read(
    view: &View,
    from: i64,
    interest: &Interest,
    room: Permit,
    exceeds: bool,
) -> Result<Alone, Fault> {
    let mut kept = Kept::new(room, exceeds);
    let mut next = Revision::start_of(from);
    let mut versions = 0;
    let reached = 'piece: loop {
        let (records, is_full) = view.history_chunk(next, view.revision(), HISTORY_CHUNK)?;
        for record in &records {
            let main = record.revision.main;
            if main != kept.revision {
                kept.close_part();
                if kept.bytes >= MESSAGE_BYTES || versions >= HISTORY_CHUNK.versions {
                    break 'piece main - 1;
                }
                kept.revision = main;
            }
            versions += 1;
            if interest.range.contains(&record.key) && interest.lets_through(record) {
                let previous = if interest.prev_kv { view.previous(record)? } else { None };
                kept.push(record, previous.as_ref());
            }
        }
        match records.last() {
            Some(last) if is_full => next = last.revision.next(),
            _ => break view.revision(),
        }
    };
    Ok(kept.finish(reached))
}

/// The events so far.
struct Kept {
    batch: Batch,
    /// The last part of the batch, which is not complete.
    part: Vec<u8>,
    /// Number of events in it.
    count: usize,
    /// Main revision of the last version read.
    revision: i64,
    /// Bytes of memory of all complete parts.
    bytes: usize,
    room: Permit,
    exceeds: bool,
    /// Whether there is no room for the events, so that they are only counted.
    is_over: bool,
}

impl Kept {
    fn new(room: Permit, exceeds: bool) -> Self {
        let (batch, part) = (Batch::default(), Vec::new());
        Self { batch, part, count: 0, revision: 0, bytes: 0, room, exceeds, is_over: false }
    }

    fn push(&mut self, record: &Record, previous: Option<&Record>) {
        let start = self.part.len();
        append_event(record, previous, &mut self.part);
        if self.part.len() - start >= JOINED_BYTES {
            // A large event is a part of its own, because a fragment has whole parts.
            let event = self.part.split_off(start);
            self.close_part();
            self.part = event;
        }
        self.count += 1;
        if self.part.len() >= JOINED_BYTES {
            self.close_part();
        }
    }

    /// Adds the last part to the batch, if there is room.
    fn close_part(&mut self) {
        if self.count == 0 {
            return;
        }
        self.bytes += self.part.len() + PART_BYTES;
        let beyond = self.bytes.saturating_sub(self.room.bytes());
        if !self.is_over && beyond > 0 && !self.room.try_grow(beyond) {
            if self.exceeds {
                let more = self.room.account().charge(beyond);
                self.room.join(more);
            } else {
                self.is_over = true;
                self.batch = Batch::default();
                self.room.shrink_to(0);
            }
        }
        if !self.is_over {
            self.batch.push_many(self.part.as_slice().into(), self.count, self.revision);
        }
        self.part.clear();
        self.count = 0;
    }

    fn finish(mut self, reached: i64) -> Alone {
        self.close_part();
        let batch = (!self.is_over).then(|| Arc::new(self.batch));
        Alone { reached, batch, bytes: self.bytes, room: self.room }
    }
}
