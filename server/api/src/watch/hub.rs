//! The hub: delivers new events to synced watchers, those that keep up.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_core::mvcc::{Portion, View};
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::watch::matcher::{EntryId, Matcher};
use quorate_core::{Fault, Record, Revision};
use quorate_proto::etcdserverpb::{ResponseHeader, WatchResponse};
use quorate_raft::Member;

use super::frame::{Batch, Event, Events, Frame, MESSAGE_BYTES, encode};
use super::outbox::Outbox;

/// Size limit of the history that is delivered under one acquisition of the lock.
const PORTION: Portion = Portion { versions: 512, bytes: 1 << 20 };
/// The watch id that stands for all watchers of a stream.
pub(crate) const EVERY_WATCH: i64 = -1;

/// Identifies a stream.
pub(crate) type StreamId = u64;
/// Identifies a watcher.
type WatcherKey = (StreamId, i64);

/// A synced watcher.
struct Watcher {
    outbox: Outbox,
    /// The watcher gets only events from this main revision on.
    from: i64,
    /// Messages from this size on are split; `None` if they must not be.
    fragment: Option<usize>,
    /// Whether an event was sent since the last call of [`Hub::was_active`].
    active: bool,
}

/// Watchers with the same interest.
struct Group {
    interest: Interest,
    watchers: BTreeMap<WatcherKey, Watcher>,
}

/// A request for a progress notification.
struct ProgressRequest {
    stream: StreamId,
    watch_id: i64,
    /// The lowest revision that the notification may have.
    at_least: i64,
    outbox: Outbox,
}

#[derive(Default)]
struct Inner {
    /// All events up to this main revision are in the outboxes of the watchers that want them.
    revision: i64,
    /// The last main revision of the delivery in progress. A watcher that joins now gets only later
    /// events.
    telling: i64,
    groups: BTreeMap<EntryId, Group>,
    by_interest: BTreeMap<Interest, EntryId>,
    matcher: Matcher,
    next_group: EntryId,
    /// The synced watchers of each stream: group, and start revision as requested.
    streams: BTreeMap<StreamId, BTreeMap<i64, (EntryId, i64)>>,
    requests: Vec<ProgressRequest>,
}

/// A delivery in progress: a part of history.
struct Telling {
    /// The next version to read.
    next: Revision,
    /// The last main revision.
    to: i64,
    view: View,
    /// Events that have not been sent yet, because a message never ends within a main revision.
    batches: BTreeMap<EntryId, Batch>,
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
    inner: Arc<Mutex<Inner>>,
}

impl Hub {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        let revision = member.store().revision();
        let inner = Inner { revision, telling: revision, ..Inner::default() };
        Self { member, inner: Arc::new(Mutex::new(inner)) }
    }

    /// Delivers new events until the member ends.
    pub(crate) async fn run(&self) {
        let mut applied = self.member.progress().subscribe();
        loop {
            while let Some(mut telling) = self.begin() {
                loop {
                    match self.tell(&mut telling) {
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

    /// A header with this revision.
    fn header(&self, revision: i64) -> ResponseHeader {
        let identity = self.member.identity();
        let raft_term = self.member.status_now().term;
        let cluster_id = identity.cluster_id;
        let member_id = identity.member_id;
        ResponseHeader { cluster_id, member_id, revision, raft_term }
    }

    /// Adds a watcher if all events that it wants are still to come; returns it otherwise. The
    /// answer to its creation is queued in both cases.
    pub(crate) fn join(&self, mut join: Join) -> Result<(), Box<Join>> {
        let mut inner = self.inner.lock();
        if let Some(created) = join.created.take() {
            join.outbox.push(created);
        }
        if join.from <= inner.telling {
            inner.forget_requests(join.stream);
            return Err(Box::new(join));
        }
        let id = match inner.by_interest.get(&join.interest) {
            Some(id) => *id,
            None => inner.add_group(&join.interest),
        };
        let Join { stream, watch_id, from, start, fragment, outbox, .. } = join;
        let group = inner.groups.get_mut(&id).expect("groups in the index exist");
        let watcher = Watcher { outbox, from, fragment, active: false };
        group.watchers.insert((stream, watch_id), watcher);
        inner.streams.entry(stream).or_default().insert(watch_id, (id, start));
        Ok(())
    }

    /// Removes a watcher, if it is synced.
    pub(crate) fn leave(&self, stream: StreamId, watch_id: i64) {
        self.inner.lock().remove(stream, watch_id);
    }

    /// Removes all watchers and progress requests of a stream.
    pub(crate) fn leave_all(&self, stream: StreamId) {
        let mut inner = self.inner.lock();
        inner.requests.retain(|request| request.stream != stream);
        let watchers = inner.streams.get(&stream).map(|w| w.keys().copied().collect::<Vec<_>>());
        for watch_id in watchers.unwrap_or_default() {
            inner.remove(stream, watch_id);
        }
    }

    /// Sends a progress notification to a watcher, or one to all `expected` watchers of a stream,
    /// once the hub has delivered everything that the store has now. Unsynced watchers get none.
    pub(crate) fn request_progress(
        &self,
        stream: StreamId,
        watch_id: i64,
        outbox: &Outbox,
        expected: usize,
    ) {
        let at_least = self.member.store().revision();
        let mut inner = self.inner.lock();
        let here = inner.streams.get(&stream).map_or(0, BTreeMap::len);
        if watch_id == EVERY_WATCH && (expected == 0 || here != expected) {
            return;
        }
        let request = ProgressRequest { stream, watch_id, at_least, outbox: outbox.clone() };
        inner.requests.push(request);
        self.answer_requests(&mut inner);
    }

    /// Whether an event was sent to the watcher since the last call; false for an unsynced watcher.
    pub(crate) fn was_active(&self, stream: StreamId, watch_id: i64) -> bool {
        let mut inner = self.inner.lock();
        let id = inner.streams.get(&stream).and_then(|watchers| watchers.get(&watch_id));
        let Some((id, _)) = id.copied() else { return false };
        let group = inner.groups.get_mut(&id);
        let watcher = group.and_then(|group| group.watchers.get_mut(&(stream, watch_id)));
        watcher.is_some_and(|watcher| std::mem::take(&mut watcher.active))
    }

    fn answer_requests(&self, inner: &mut Inner) {
        if inner.requests.is_empty() {
            return;
        }
        let revision = inner.revision;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.requests)
            .into_iter()
            .partition(|request| request.at_least <= revision);
        inner.requests = later;
        for request in due {
            let watchers = inner.streams.get(&request.stream);
            let keeps_up = watchers.is_some_and(|watchers| match request.watch_id {
                EVERY_WATCH => watchers.values().all(|(_, start)| *start <= revision),
                id => watchers.get(&id).is_some_and(|(_, start)| *start <= revision),
            });
            if keeps_up {
                let header = Some(self.header(revision));
                let watch_id = request.watch_id;
                let progress = WatchResponse { header, watch_id, ..Default::default() };
                request.outbox.push(Frame::control(progress));
            }
        }
    }

    /// Begins a delivery of the new history; `None` if everything applied has been delivered.
    fn begin(&self) -> Option<Telling> {
        let mut inner = self.inner.lock();
        // The view is made under the lock, so that a watcher that joins meanwhile does not miss its
        // events.
        let view = self.member.view();
        let from = inner.revision + 1;
        let to = view.revision();
        if from > to {
            return None;
        }
        inner.telling = to;
        if from < view.compacted() && !planted::has(Mistake::HideGap) {
            inner.give_back(from, view.compacted());
        }
        if inner.groups.is_empty() {
            inner.revision = to;
            self.answer_requests(&mut inner);
            return None;
        }
        Some(Telling { next: Revision::start_of(from), to, view, batches: BTreeMap::new() })
    }

    /// Delivers one piece of history; returns false after the last piece. The lock is released
    /// between pieces, so that streams can come and go: one transaction can have any number of
    /// events.
    fn tell(&self, telling: &mut Telling) -> Result<bool, Fault> {
        let Telling { next, to, view, batches } = telling;
        let begun = next.main;
        let (records, is_full) = view.history_piece(*next, *to, PORTION)?;
        let last = records.last().filter(|_| is_full);
        let goes_on = last.map(|last| last.revision);
        let mut inner = self.inner.lock();
        for revision in records.chunk_by(|a, b| a.revision.main == b.revision.main) {
            let main = revision[0].revision.main;
            if main != begun && goes_on.is_some_and(|last| last.main == main) {
                // The next piece may have more events of this revision. Those of earlier revisions
                // are sent without them.
                self.send_all(&mut inner, batches, 0);
                inner.revision = inner.revision.max(main - 1);
            }
            for record in revision {
                if planted::once_in(Mistake::DropEvent, 200) {
                    continue;
                }
                collect(&inner, view, record, batches)?;
                if planted::once_in(Mistake::RepeatEvent, 200) {
                    collect(&inner, view, record, batches)?;
                }
            }
            if goes_on.is_none_or(|last| last.main != main) {
                self.send_all(&mut inner, batches, MESSAGE_BYTES);
            }
        }
        match goes_on {
            Some(last) => *next = Revision::new(last.main, last.sub + 1),
            None => {
                self.send_all(&mut inner, batches, 0);
                inner.revision = *to;
            }
        }
        self.answer_requests(&mut inner);
        Ok(goes_on.is_some())
    }

    /// Sends the batches of at least `bytes_min` bytes.
    fn send_all(
        &self,
        inner: &mut Inner,
        batches: &mut BTreeMap<EntryId, Batch>,
        bytes_min: usize,
    ) {
        let full = batches.extract_if(.., |_, batch| batch.size() >= bytes_min);
        let full: Vec<(EntryId, Batch)> = full.collect();
        for (id, batch) in full {
            self.send(inner, id, batch);
        }
    }

    /// Sends a batch to every watcher of a group. A watcher whose outbox is full falls behind.
    fn send(&self, inner: &mut Inner, id: EntryId, batch: Batch) {
        let header = self.header(batch.last_revision());
        let batch = Arc::new(batch);
        let Some(group) = inner.groups.get_mut(&id) else { return };
        let mut behind = Vec::new();
        for ((stream, watch_id), watcher) in &mut group.watchers {
            let first = batch.first_at(watcher.from);
            if first == batch.len() {
                continue;
            }
            let from = watcher.from.max(batch.first_revision());
            let events = Events::new(*watch_id, header, batch.clone(), first);
            watcher.active = true;
            if !watcher.outbox.offer(events.frames(watcher.fragment), *watch_id, from) {
                behind.push((*stream, *watch_id));
            }
        }
        inner.set_back(behind);
    }
}

impl Inner {
    /// Returns the watchers that still want compacted events, from main revision `from` on, to
    /// their streams, which end them. Events can be compacted before their delivery: by a snapshot
    /// of a state that is far ahead, or while this hub was slow.
    fn give_back(&mut self, from: i64, compacted: i64) {
        let mut behind = Vec::new();
        for ((stream, watch_id), watcher) in self.groups.values().flat_map(|g| &g.watchers) {
            let next = watcher.from.max(from);
            if next < compacted {
                watcher.outbox.fall_behind(*watch_id, next);
                behind.push((*stream, *watch_id));
            }
        }
        self.set_back(behind);
    }

    /// Removes watchers that fell behind.
    fn set_back(&mut self, behind: Vec<WatcherKey>) {
        for (stream, watch_id) in behind {
            self.remove(stream, watch_id);
            self.forget_requests(stream);
        }
    }

    /// Drops the progress requests for all watchers of a stream, because one of them fell behind
    /// and the notification would be wrong for it. etcd sends none in this case either.
    fn forget_requests(&mut self, stream: StreamId) {
        self.requests.retain(|request| (request.stream, request.watch_id) != (stream, EVERY_WATCH));
    }

    fn add_group(&mut self, interest: &Interest) -> EntryId {
        let id = self.next_group;
        self.next_group += 1;
        self.matcher.insert(interest.range.clone(), id);
        self.by_interest.insert(interest.clone(), id);
        let group = Group { interest: interest.clone(), watchers: BTreeMap::new() };
        self.groups.insert(id, group);
        id
    }

    fn remove(&mut self, stream: StreamId, watch_id: i64) {
        let Some(watchers) = self.streams.get_mut(&stream) else { return };
        let Some((id, _)) = watchers.remove(&watch_id) else { return };
        if watchers.is_empty() {
            self.streams.remove(&stream);
        }
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.watchers.remove(&(stream, watch_id));
        if group.watchers.is_empty() {
            let interest = self.groups.remove(&id).expect("found above").interest;
            self.matcher.remove(&interest.range, id);
            self.by_interest.remove(&interest);
        }
    }
}

/// Adds the event of one version to the batches of the groups that want it. The event is encoded at
/// most twice: with and without the previous version of the key.
fn collect(
    inner: &Inner,
    view: &View,
    record: &Record,
    batches: &mut BTreeMap<EntryId, Batch>,
) -> Result<(), Fault> {
    let mut ids = Vec::new();
    inner.matcher.matches(&record.key, &mut |id| ids.push(id));
    let mut encoded: [Option<Event>; 2] = [None, None];
    for id in ids {
        let Some(group) = inner.groups.get(&id) else { continue };
        if !group.interest.lets_through(record) {
            continue;
        }
        let with_previous = group.interest.prev_kv;
        let slot = &mut encoded[usize::from(with_previous)];
        let event = match slot {
            Some(event) => event.clone(),
            None => {
                let mut previous = if with_previous { view.previous(record)? } else { None };
                if with_previous && planted::once_in(Mistake::WrongPrevious, 50) {
                    previous = Some(record.clone());
                }
                slot.insert(encode(record, previous.as_ref())).clone()
            }
        };
        batches.entry(id).or_default().push(event, record.revision.main);
    }
    Ok(())
}
