//! The hub: delivers new events to synced watchers, those that keep up.

use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_core::mvcc::{ChunkLimit, View};
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::watch::matcher::EntryId;
use quorate_core::{Fault, Revision};
use quorate_proto::etcdserverpb::WatchResponse;
use quorate_raft::Member;

use super::frame::{Batch, Events, Frame, MESSAGE_BYTES};
use super::outbox::Outbox;
use super::synced::{Collected, EVERY_WATCH, ProgressRequest, StreamId, Synced, Watcher};
use crate::header::header;

/// Size limit of the history that is delivered under one acquisition of the lock.
const HISTORY_CHUNK: ChunkLimit = ChunkLimit { versions: 512, bytes: 1 << 20 };

/// Bytes of memory of the events that may be collected at once: this part of the memory budget,
/// within bounds. The watchers that want more events of a main revision read them from history.
const COLLECTED_PART: usize = 16;
const COLLECTED_BYTES: RangeInclusive<usize> = 4 << 20..=16 << 20;

/// A delivery in progress: a part of history.
struct Delivery {
    /// The next version to read.
    next: Revision,
    /// The last main revision.
    to: i64,
    view: View,
    collected: Collected,
}

/// A new watcher, or one that has caught up.
pub(crate) struct Join {
    pub(crate) stream: StreamId,
    pub(crate) watch_id: i64,
    pub(crate) interest: Interest,
    /// The first main revision that the watcher has not been sent.
    pub(crate) from: i64,
    /// The start revision that the watcher was created with; 0 means from now on.
    pub(crate) start: i64,
    pub(crate) fragment: Option<usize>,
    pub(crate) outbox: Outbox,
    /// For a new watcher, the answer to its creation. No event may come before it.
    pub(crate) created: Option<Frame>,
}

/// The hub. Clones share it.
#[derive(Clone)]
pub(crate) struct Hub {
    member: Arc<Member>,
    synced: Arc<Mutex<Synced>>,
    /// Bytes of memory of the events that may be collected at once.
    collected_max: usize,
}

impl Hub {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        let revision = member.store().revision();
        let (least, most) = COLLECTED_BYTES.into_inner();
        let collected_max = (member.budget().limit() / COLLECTED_PART).clamp(least, most);
        Self { member, synced: Arc::new(Mutex::new(Synced::up_to(revision))), collected_max }
    }

    /// Delivers new events until the member ends.
    pub(crate) async fn run(&self) {
        let mut applied = self.member.progress().subscribe();
        loop {
            while let Some(mut delivery) = self.begin() {
                loop {
                    match self.deliver(&mut delivery) {
                        Ok(true) => tokio::task::yield_now().await,
                        Ok(false) => break,
                        Err(fault) => return self.member.fail(&fault),
                    }
                }
                tokio::task::yield_now().await;
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Adds a watcher if no delivery of events that it wants has begun; otherwise returns the
    /// watcher. The answer to its creation is queued in both cases.
    pub(crate) fn join(&self, mut join: Join) -> Result<(), Box<Join>> {
        let mut synced = self.synced.lock();
        if let Some(created) = join.created.take() {
            join.outbox.push(created);
        }
        if join.from <= synced.delivering {
            synced.forget_requests(join.stream);
            return Err(Box::new(join));
        }
        let Join { stream, watch_id, interest, from, start, fragment, outbox, .. } = join;
        let watcher = Watcher { outbox, from, fragment, active: false };
        synced.add((stream, watch_id), &interest, start, watcher);
        Ok(())
    }

    /// Removes a watcher, if it is synced.
    pub(crate) fn leave(&self, stream: StreamId, watch_id: i64) {
        self.synced.lock().remove(stream, watch_id);
    }

    /// Removes all watchers and progress requests of a stream.
    pub(crate) fn leave_all(&self, stream: StreamId) {
        self.synced.lock().remove_all(stream);
    }

    /// Sends a progress notification once the hub has delivered everything that the store has now:
    /// to one watcher, or for [`EVERY_WATCH`] a single one for all `expected` watchers of the
    /// stream. Sends none for unsynced watchers.
    pub(crate) fn request_progress(
        &self,
        stream: StreamId,
        watch_id: i64,
        outbox: &Outbox,
        expected: usize,
    ) {
        let at_least = self.member.store().revision();
        let mut synced = self.synced.lock();
        if watch_id == EVERY_WATCH && (expected == 0 || synced.count(stream) != expected) {
            return;
        }
        synced.request(ProgressRequest { stream, watch_id, at_least, outbox: outbox.clone() });
        self.answer_requests(&mut synced);
    }

    /// Whether an event was sent to the watcher since the last call; false for an unsynced watcher.
    pub(crate) fn was_active(&self, stream: StreamId, watch_id: i64) -> bool {
        self.synced.lock().was_active(stream, watch_id)
    }

    fn answer_requests(&self, synced: &mut Synced) {
        let revision = synced.revision;
        for request in synced.take_due() {
            let header = Some(header(&self.member, revision));
            let watch_id = request.watch_id;
            let progress = WatchResponse { header, watch_id, ..Default::default() };
            request.outbox.push(Frame::control(progress));
        }
    }

    /// Begins a delivery of the new history; `None` if everything applied has been delivered.
    fn begin(&self) -> Option<Delivery> {
        let mut synced = self.synced.lock();
        // The view is made under the lock, so that a watcher that joins meanwhile does not miss its
        // events.
        let view = self.member.view();
        let from = synced.revision + 1;
        let to = view.revision();
        if from > to {
            return None;
        }
        synced.delivering = to;
        if from < view.compacted() && !planted::has(Mistake::HideGap) {
            synced.give_back(from, view.compacted());
        }
        if synced.is_empty() {
            synced.revision = to;
            self.answer_requests(&mut synced);
            return None;
        }
        Some(Delivery { next: Revision::start_of(from), to, view, collected: Collected::default() })
    }

    /// Delivers one piece of history; returns false after the last piece. The lock is released
    /// between pieces, so that streams can come and go: one transaction can have any number of
    /// events.
    fn deliver(&self, delivery: &mut Delivery) -> Result<bool, Fault> {
        let Delivery { next, to, view, collected } = delivery;
        let begun = next.main;
        let (records, is_full) = view.history_chunk(*next, *to, HISTORY_CHUNK)?;
        let last = records.last().filter(|_| is_full);
        let cut_at = last.map(|last| last.revision);
        let mut synced = self.synced.lock();
        for revision in records.chunk_by(|a, b| a.revision.main == b.revision.main) {
            let main = revision[0].revision.main;
            if main != begun && cut_at.is_some_and(|last| last.main == main) {
                // The next piece may have more events of this revision. The events of earlier
                // revisions are sent now.
                self.send_all(&mut synced, collected, 0);
                synced.revision = synced.revision.max(main - 1);
            }
            for record in revision {
                if planted::once_in(Mistake::DropEvent, 200) {
                    continue;
                }
                synced.collect(view, record, collected)?;
                if planted::once_in(Mistake::RepeatEvent, 200) {
                    synced.collect(view, record, collected)?;
                }
                if collected.bytes > self.collected_max {
                    synced.leave_to_streams(collected);
                }
            }
            if cut_at.is_none_or(|last| last.main != main) {
                let is_much = collected.bytes > self.collected_max / 2;
                let bytes_min = if is_much { 0 } else { MESSAGE_BYTES };
                self.send_all(&mut synced, collected, bytes_min);
            }
        }
        match cut_at {
            Some(last) => *next = Revision::new(last.main, last.sub + 1),
            None => {
                self.send_all(&mut synced, collected, 0);
                synced.revision = *to;
            }
        }
        self.answer_requests(&mut synced);
        Ok(cut_at.is_some())
    }

    /// Sends the batches of at least `bytes_min` bytes.
    fn send_all(&self, synced: &mut Synced, collected: &mut Collected, bytes_min: usize) {
        let full = collected.batches.extract_if(.., |_, batch| batch.size() >= bytes_min);
        let full: Vec<(EntryId, Batch)> = full.collect();
        for (id, batch) in full {
            self.send(synced, id, batch);
        }
        if collected.batches.is_empty() {
            collected.bytes = 0;
        }
    }

    /// Sends a batch to every watcher of a group. A watcher whose outbox is full falls behind.
    fn send(&self, synced: &mut Synced, id: EntryId, batch: Batch) {
        let header = header(&self.member, batch.last_revision());
        let batch = Arc::new(batch);
        let Some(group) = synced.group(id) else { return };
        let mut behind = Vec::new();
        for ((stream, watch_id), watcher, first, from) in group.wanting(&batch) {
            let events = Events::new(watch_id, header, batch.clone(), first);
            watcher.active = true;
            if !watcher.outbox.offer(events.frames(watcher.fragment), watch_id, from) {
                behind.push((stream, watch_id));
            }
        }
        synced.set_back(behind);
    }
}
