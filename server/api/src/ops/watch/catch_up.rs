//! Reads history for the unsynced watchers of a stream.

use std::sync::Arc;

use quorate_core::Fault;
use quorate_core::mvcc::View;
use quorate_core::planted::{self, Mistake};
use quorate_proto::etcdserverpb::WatchResponse;
use quorate_raft::Permit;

use super::{READING_BYTES, WatchStream};
use crate::watch::frame::{Batch, Events, Frame};
use crate::watch::history::{Portion, Portions, Turn, Wanted};

/// Maximum number of a stream's watchers that one piece of history serves. The others wait.
const WATCHERS_PER_TURN: usize = 64;

impl WatchStream {
    /// Reads one piece of history for an unsynced watcher, and serves other watchers that the piece
    /// covers, as long as there is room.
    pub(super) async fn catch_up(&mut self, turn: Turn, room: Permit) -> Result<(), Fault> {
        let reading = std::mem::replace(&mut self.reading, READING_BYTES);
        let view = self.server.member().view();
        self.end_compacted(&view);
        let behind = self.next_behind();
        let Some(Wanted { watch_id: first, from, .. }) = behind.first() else { return Ok(()) };
        let (first, from) = (*first, *from);
        if from > view.revision() {
            self.served = first;
            self.join(first, from, None);
            return Ok(());
        }
        let exceeds = reading >= self.reading_max() || planted::has(Mistake::ReadAtOnce);
        let room = (room, exceeds);
        let read = self.server.history().read(turn, view, behind, room).await?;
        let Portions { reached, portions, mut room, lacks } = read;
        if lacks > 0 {
            // The same watcher comes first again.
            self.ask_for(lacks);
            return Ok(());
        }
        self.served = first;
        let mut is_first = true;
        for Portion { watch_id, from, batch } in portions {
            if !self.outbox.has_room() {
                break;
            }
            let frames = self.replay(watch_id, from, reached, batch);
            let bytes: usize = frames.iter().map(Frame::size).sum();
            let fits = bytes <= room.bytes() || room.try_grow(bytes - room.bytes());
            if !fits && self.asks_for_more(reading, bytes, is_first) {
                break;
            }
            is_first = false;
            self.outbox.push_held(frames, room.split(bytes));
            self.join(watch_id, reached + 1, None);
        }
        Ok(())
    }

    /// The most memory that a read waits for: a quarter of the budget. A read that has it and needs
    /// more exceeds the budget, because the events of a revision are sent in one message.
    fn reading_max(&self) -> usize {
        self.server.member().budget().limit() / 4
    }

    /// Makes the next read begin with as much memory as `bytes` of events need, up to the maximum.
    fn ask_for(&mut self, bytes: usize) {
        self.reading = bytes.min(self.reading_max()).max(READING_BYTES);
    }

    /// Called when the memory budget has no room for the events of a watcher. Returns whether the
    /// events must be read again later. If the watcher is the first of a read, the next read takes
    /// as much memory as these events need, as far as it may. If this read already had that much,
    /// the events are sent although the budget has no room for them.
    fn asks_for_more(&mut self, had: usize, bytes: usize, is_first: bool) -> bool {
        if is_first {
            self.ask_for(bytes);
        }
        !is_first || self.reading > had
    }

    /// The unsynced watchers for the next turn, round robin, so that a watcher far behind does not
    /// delay the others.
    fn next_behind(&self) -> Vec<Wanted> {
        let wanted = |(id, from): (&i64, &i64)| {
            let interest = self.watchers.get(id)?.interest.clone();
            Some(Wanted { watch_id: *id, from: *from, interest })
        };
        let before = self.behind.range(..=self.served);
        let after = self.behind.range(self.served + 1..);
        after.chain(before).filter_map(wanted).take(WATCHERS_PER_TURN).collect()
    }

    /// Ends watchers that want compacted events.
    fn end_compacted(&mut self, view: &View) {
        let compacted = view.compacted();
        let doomed = self.behind.iter().filter(|(_, from)| **from < compacted);
        let doomed: Vec<i64> = doomed.map(|(id, _)| *id).collect();
        for watch_id in doomed {
            self.remove(watch_id);
            self.ended.insert(watch_id);
            self.server.metrics().watch.watchers.dec();
            let response = WatchResponse {
                watch_id,
                canceled: true,
                compact_revision: compacted,
                ..Default::default()
            };
            self.control(0, response);
        }
    }

    /// The messages for an unsynced watcher with the events of a piece of history, from main
    /// revision `from` to `reached`.
    fn replay(&self, watch_id: i64, from: i64, reached: i64, batch: Arc<Batch>) -> Vec<Frame> {
        let Some(watcher) = self.watchers.get(&watch_id) else { return Vec::new() };
        let first = batch.first_at(from);
        if first == batch.len() {
            return Vec::new();
        }
        // As in etcd, the header has the last revision that was read, not that of the last event.
        let header = self.server.header(reached);
        let events = Events::new(watch_id, header, batch, first);
        let limit = watcher.fragment.then(|| self.fragment_limit());
        events.frames(limit)
    }
}
