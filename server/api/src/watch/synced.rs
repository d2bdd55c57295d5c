//! The synced watchers, grouped by interest: an event is matched and encoded once for all watchers
//! with the same interest. The hub's lock guards all of it.

use std::collections::BTreeMap;

use quorate_core::mvcc::View;
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::watch::matcher::{EntryId, Matcher};
use quorate_core::{Fault, Record};

use super::frame::{Batch, Event, PART_BYTES, encode};
use super::outbox::Outbox;

/// The watch id that stands for all watchers of a stream.
pub(crate) const EVERY_WATCH: i64 = -1;

/// Identifies a stream.
pub(crate) type StreamId = u64;
/// Identifies a watcher.
pub(super) type WatcherKey = (StreamId, i64);

/// A synced watcher.
pub(super) struct Watcher {
    pub(super) outbox: Outbox,
    /// Main revision of the first event that the watcher may get.
    pub(super) from: i64,
    /// Messages of this many bytes or more are split; `None` if they must not be.
    pub(super) fragment: Option<usize>,
    /// Whether an event was sent since the last call of [`Synced::was_active`].
    pub(super) active: bool,
}

/// Watchers with the same interest.
pub(super) struct WatcherGroup {
    interest: Interest,
    watchers: BTreeMap<WatcherKey, Watcher>,
}

impl WatcherGroup {
    /// The watchers that want events of a batch for the group, each with the first part for it and
    /// the first main revision that it has not been sent.
    pub(super) fn wanting<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> impl Iterator<Item = (WatcherKey, &'a mut Watcher, usize, i64)> {
        self.watchers.iter_mut().filter_map(move |(key, watcher)| {
            let first = batch.first_at(watcher.from);
            let from = watcher.from.max(batch.first_revision());
            (first < batch.len()).then_some((*key, watcher, first, from))
        })
    }
}

/// Events that are collected and not sent yet, because a message never ends within a main revision.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) batches: BTreeMap<EntryId, Batch>,
    /// Bytes of memory of everything collected since the last time that nothing was.
    pub(super) bytes: usize,
}

/// A request for a progress notification.
pub(super) struct ProgressRequest {
    pub(super) stream: StreamId,
    pub(super) watch_id: i64,
    /// The lowest revision that the notification may have.
    pub(super) at_least: i64,
    pub(super) outbox: Outbox,
}

/// The synced watchers, and how far their events have been delivered.
#[derive(Default)]
pub(super) struct Synced {
    /// All events up to this main revision are in the outboxes of the watchers that want them.
    pub(super) revision: i64,
    /// The last main revision of the delivery in progress. A watcher that joins now gets only later
    /// events.
    pub(super) delivering: i64,
    groups: BTreeMap<EntryId, WatcherGroup>,
    by_interest: BTreeMap<Interest, EntryId>,
    matcher: Matcher,
    next_group: EntryId,
    /// The synced watchers of each stream: group, and start revision as requested.
    streams: BTreeMap<StreamId, BTreeMap<i64, (EntryId, i64)>>,
    requests: Vec<ProgressRequest>,
}

impl Synced {
    /// Watchers that are synced up to this main revision.
    pub(super) fn up_to(revision: i64) -> Self {
        Self { revision, delivering: revision, ..Self::default() }
    }

    /// Whether there is no watcher.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of synced watchers of a stream.
    pub(super) fn count(&self, stream: StreamId) -> usize {
        self.streams.get(&stream).map_or(0, BTreeMap::len)
    }

    /// Adds a watcher with this interest. `start` is its start revision as requested.
    pub(super) fn add(
        &mut self,
        (stream, watch_id): WatcherKey,
        interest: &Interest,
        start: i64,
        watcher: Watcher,
    ) {
        let id = match self.by_interest.get(interest) {
            Some(id) => *id,
            None => self.add_group(interest),
        };
        let group = self.groups.get_mut(&id).expect("groups in the index exist");
        group.watchers.insert((stream, watch_id), watcher);
        self.streams.entry(stream).or_default().insert(watch_id, (id, start));
    }

    /// Removes all watchers and progress requests of a stream.
    pub(super) fn remove_all(&mut self, stream: StreamId) {
        self.requests.retain(|request| request.stream != stream);
        let watchers = self.streams.get(&stream).map(|w| w.keys().copied().collect::<Vec<_>>());
        for watch_id in watchers.unwrap_or_default() {
            self.remove(stream, watch_id);
        }
    }

    /// The watchers of a group, if the group still exists.
    pub(super) fn group(&mut self, id: EntryId) -> Option<&mut WatcherGroup> {
        self.groups.get_mut(&id)
    }

    /// Whether an event was sent to the watcher since the last call; false for an unsynced watcher.
    pub(super) fn was_active(&mut self, stream: StreamId, watch_id: i64) -> bool {
        let id = self.streams.get(&stream).and_then(|watchers| watchers.get(&watch_id));
        let Some((id, _)) = id.copied() else { return false };
        let group = self.groups.get_mut(&id);
        let watcher = group.and_then(|group| group.watchers.get_mut(&(stream, watch_id)));
        watcher.is_some_and(|watcher| std::mem::take(&mut watcher.active))
    }

    /// Queues a request for a progress notification.
    pub(super) fn request(&mut self, request: ProgressRequest) {
        self.requests.push(request);
    }

    /// Takes the progress requests that can be answered at the delivered revision. Requests for
    /// watchers that are unsynced, or that start after this revision, are dropped.
    pub(super) fn take_due(&mut self) -> Vec<ProgressRequest> {
        if self.requests.is_empty() {
            return Vec::new();
        }
        let revision = self.revision;
        let mut due: Vec<_> =
            self.requests.extract_if(.., |request| request.at_least <= revision).collect();
        due.retain(|request| {
            let watchers = self.streams.get(&request.stream);
            watchers.is_some_and(|watchers| match request.watch_id {
                EVERY_WATCH => watchers.values().all(|(_, start)| *start <= revision),
                id => watchers.get(&id).is_some_and(|(_, start)| *start <= revision),
            })
        });
        due
    }

    /// Returns watchers to their streams if they want compacted events at or after main revision
    /// `from`; the streams end them. Events can be compacted before their delivery: by a snapshot
    /// of a state that is far ahead, or while this hub was slow.
    pub(super) fn give_back(&mut self, from: i64, compacted: i64) {
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
    pub(super) fn set_back(&mut self, behind: Vec<WatcherKey>) {
        for (stream, watch_id) in behind {
            self.remove(stream, watch_id);
            self.forget_requests(stream);
        }
    }

    /// Drops the progress requests for all watchers of a stream, because one of them fell behind
    /// and the notification would be wrong for it. etcd sends none in this case either.
    pub(super) fn forget_requests(&mut self, stream: StreamId) {
        self.requests.retain(|request| (request.stream, request.watch_id) != (stream, EVERY_WATCH));
    }

    fn add_group(&mut self, interest: &Interest) -> EntryId {
        let id = self.next_group;
        self.next_group += 1;
        self.matcher.insert(interest.range.clone(), id);
        self.by_interest.insert(interest.clone(), id);
        let group = WatcherGroup { interest: interest.clone(), watchers: BTreeMap::new() };
        self.groups.insert(id, group);
        id
    }

    pub(super) fn remove(&mut self, stream: StreamId, watch_id: i64) {
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

    /// Returns the watchers that want collected events to their streams, which read these events
    /// from history. Nothing is collected then. The last main revision may be incomplete.
    pub(super) fn leave_to_streams(&mut self, collected: &mut Collected) {
        let mut behind = Vec::new();
        for (id, batch) in std::mem::take(collected).batches {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            for ((stream, watch_id), watcher, _, from) in group.wanting(&batch) {
                watcher.outbox.fall_behind(watch_id, from);
                behind.push((stream, watch_id));
            }
        }
        self.set_back(behind);
    }

    /// Adds the event of one version to the batches of the groups that want it. The event is
    /// encoded at most twice: with and without the previous version of the key.
    ///
    /// # Errors
    /// The previous version cannot be read.
    pub(super) fn collect(
        &self,
        view: &View,
        record: &Record,
        collected: &mut Collected,
    ) -> Result<(), Fault> {
        let mut ids = Vec::new();
        self.matcher.matches(&record.key, &mut |id| ids.push(id));
        let mut encoded: [Option<Event>; 2] = [None, None];
        for id in ids {
            let Some(group) = self.groups.get(&id) else { continue };
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
                    let event = encode(record, previous.as_ref());
                    collected.bytes += event.len();
                    slot.insert(event).clone()
                }
            };
            collected.bytes += PART_BYTES;
            collected.batches.entry(id).or_default().push(event, record.revision.main);
        }
        Ok(())
    }
}
