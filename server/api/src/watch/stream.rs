//! The task of a watch stream. It answers requests, and reads history for unsynced watchers: those
//! that start in the past or fell behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_core::mvcc::View;
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_core::{Fault, KeyRange};
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use quorate_raft::{Account, Permit};
use tonic::{Status, Streaming};

use super::frame::{Batch, Events, Frame, MESSAGE_BYTES, watched_key};
use super::history::{History, Portion, Portions, Turn, Wanted};
use super::hub::{EVERY_WATCH, Join, StreamId};
use super::outbox::Outbox;
use crate::error::{ApiError, status};
use crate::server::{GRPC_OVERHEAD_BYTES, Server};

/// Most watchers of a stream that are served with one piece of history. The others wait.
const WATCHERS_PER_TURN: usize = 64;

/// Bytes of the memory budget that a read of history takes first. A larger read takes more.
const READING_BYTES: usize = MESSAGE_BYTES;
/// Time limit of one attempt to get memory for a read. Attempts are repeated.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a failed attempt, which can also fail at once because too many streams wait.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of the key and range end of a watcher that are not charged to the budget.
const KEYS_UNCOUNTED: usize = 4 << 10;

/// A watcher of the stream, synced or unsynced.
struct Watcher {
    interest: Interest,
    /// The start revision as requested.
    start: i64,
    fragment: bool,
    progress: bool,
    /// If the watcher is unsynced: the first main revision that it has not been sent.
    behind: Option<i64>,
    /// The permit for its keys.
    _room: Permit,
}

/// The task of one stream.
pub(crate) struct WatchStream {
    server: Server,
    id: StreamId,
    outbox: Outbox,
    watchers: BTreeMap<i64, Watcher>,
    /// Ids of watchers that a compaction ended. The client may still cancel them.
    ended: BTreeSet<i64>,
    next_id: i64,
    /// Number of unsynced watchers at the last count.
    slow: i64,
    /// The watcher for which history was read last. The next read is for a watcher after it.
    served: i64,
    /// Bytes of the memory budget that the next read of history takes first.
    reading: usize,
}

impl WatchStream {
    pub(crate) fn new(server: Server, outbox: Outbox) -> Self {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        let id = STREAMS.fetch_add(1, Ordering::Relaxed);
        let watchers = BTreeMap::new();
        let ended = BTreeSet::new();
        let reading = READING_BYTES;
        Self { server, id, outbox, watchers, ended, next_id: 0, slow: 0, served: 0, reading }
    }

    /// Serves the stream until the client is gone or the server stops.
    pub(crate) async fn run(mut self, mut requests: Streaming<WatchRequest>, needs_leader: bool) {
        self.server.metrics().watch.streams.inc();
        let end = self.serve(&mut requests, needs_leader).await;
        self.outbox.close(end);
        self.server.hub().leave_all(self.id);
        let watchers = i64::try_from(self.watchers.len()).unwrap_or(0);
        self.server.metrics().watch.watchers.sub(watchers);
        self.server.metrics().watch.slow.sub(self.slow);
        self.server.metrics().watch.streams.dec();
    }

    async fn serve(
        &mut self,
        requests: &mut Streaming<WatchRequest>,
        needs_leader: bool,
    ) -> Status {
        let stop = self.server.stopping().clone();
        let interval = self.progress_interval();
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        let leader_lost = leader_lost(self.server.clone(), needs_leader);
        tokio::pin!(leader_lost);
        // False once the client has closed its side of the stream. It may still receive events.
        let mut asks = true;
        // Kept across iterations, because a new call would go to the end of the queue.
        let mut turn = None;
        loop {
            for lagging in self.outbox.take_lagging() {
                if let Some(watcher) = self.watchers.get_mut(&lagging.watch_id) {
                    watcher.behind = Some(lagging.next);
                }
            }
            if self.outbox.is_gone() {
                return status(ApiError::WatchCanceled);
            }
            let room = self.outbox.has_room();
            let reads = self.count_slow() > 0 && room;
            if reads && turn.is_none() {
                let account = self.outbox.account();
                let history = self.server.history().clone();
                turn = Some(Box::pin(turn_with_room(account, self.reading, history)));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return status(ApiError::Stopped),
                () = &mut leader_lost => return status(ApiError::NoLeader),
                request = requests.message(), if asks && room => match request {
                    Ok(Some(request)) => self.handle(request),
                    Ok(None) => asks = false,
                    Err(error) => return error,
                },
                () = self.outbox.changed() => {}
                _ = ticks.tick() => self.report_progress(),
                mine = async { Some(turn.as_mut()?.await) }, if turn.is_some() => {
                    turn = None;
                    let Some(mine) = mine.filter(|_| reads) else { continue };
                    let (room, mine) = mine;
                    if let Err(fault) = self.catch_up(mine, room).await {
                        return self.server.fault(&fault);
                    }
                }
            }
        }
    }

    /// Counts the unsynced watchers, and updates the metric.
    fn count_slow(&mut self) -> i64 {
        let slow = self.watchers.values().filter(|watcher| watcher.behind.is_some());
        let slow = i64::try_from(slow.count()).unwrap_or(0);
        if slow != self.slow {
            self.server.metrics().watch.slow.add(slow - self.slow);
            self.slow = slow;
        }
        slow
    }

    /// The interval of progress notifications plus up to a tenth, so that streams that were opened
    /// together do not send them together.
    fn progress_interval(&self) -> Duration {
        let interval = self.server.options().watch_progress_interval;
        let share = u32::try_from(self.id % 97).unwrap_or(0);
        interval + interval / 970 * share
    }

    fn handle(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                let hub = self.server.hub();
                let count = self.watchers.len();
                hub.request_progress(self.id, EVERY_WATCH, &self.outbox, count);
            }
            None => {}
        }
    }

    fn answer(&self, revision: i64, response: WatchResponse) -> Frame {
        let header = Some(self.server.header(revision));
        Frame::control(WatchResponse { header, ..response })
    }

    fn control(&self, revision: i64, response: WatchResponse) {
        self.outbox.push(self.answer(revision, response));
    }

    fn refuse(&self, revision: i64, reason: &str) {
        let response = WatchResponse {
            watch_id: EVERY_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        self.control(revision, response);
    }

    fn create(&mut self, create: WatchCreateRequest) {
        let revision = self.server.member().store().revision();
        if create.start_revision < 0 {
            return self.refuse(revision, ApiError::Compacted.text());
        }
        let range = KeyRange::from_wire(watched_key(&create.key), create.range_end.clone());
        if range.is_empty() {
            return self.refuse(revision, "mvcc: watcher range is empty");
        }
        let Some(watch_id) = self.choose_id(create.watch_id) else {
            let reason = "mvcc: duplicate watch ID provided on the WatchStream";
            return self.refuse(revision, reason);
        };
        let wants = |filter: FilterType| create.filters.contains(&(filter as i32));
        let interest = Interest {
            range,
            no_put: wants(FilterType::Noput),
            no_delete: wants(FilterType::Nodelete),
            prev_kv: create.prev_kv,
        };
        let account = self.outbox.account();
        let bytes = create.key.len() + create.range_end.len();
        let room = if bytes <= KEYS_UNCOUNTED {
            Some(account.nothing())
        } else {
            account.try_acquire(bytes)
        };
        let Some(room) = room else {
            return self.refuse(revision, ApiError::TooManyRequests.text());
        };
        let from = if create.start_revision == 0 { revision + 1 } else { create.start_revision };
        let watcher = Watcher {
            interest,
            start: create.start_revision,
            fragment: create.fragment,
            progress: create.progress_notify,
            behind: Some(from),
            _room: room,
        };
        self.watchers.insert(watch_id, watcher);
        self.server.metrics().watch.watchers.inc();
        let created = WatchResponse { watch_id, created: true, ..Default::default() };
        self.join(watch_id, from, Some(self.answer(revision, created)));
    }

    /// The id of a new watcher: the requested id, or `None` if it is in use; for 0, the next free
    /// id.
    fn choose_id(&mut self, asked: i64) -> Option<i64> {
        let used = |id: &i64| self.watchers.contains_key(id) || self.ended.contains(id);
        if asked != 0 {
            return (!used(&asked)).then_some(asked);
        }
        let free = (self.next_id..).find(|id| !used(id))?;
        self.next_id = free + 1;
        Some(free)
    }

    fn fragment_limit(&self) -> usize {
        self.server.options().max_request_bytes + GRPC_OVERHEAD_BYTES
    }

    /// Moves a watcher to the hub, if it wants nothing that the hub has delivered already.
    fn join(&mut self, watch_id: i64, from: i64, created: Option<Frame>) {
        let limit = self.fragment_limit();
        let Some(watcher) = self.watchers.get_mut(&watch_id) else { return };
        let join = Join {
            stream: self.id,
            watch_id,
            interest: watcher.interest.clone(),
            from,
            start: watcher.start,
            fragment: watcher.fragment.then_some(limit),
            outbox: self.outbox.clone(),
            created,
        };
        watcher.behind = self.server.hub().join(join).err().map(|join| join.from);
    }

    fn cancel(&mut self, watch_id: i64) {
        let known = self.watchers.remove(&watch_id).is_some();
        if known {
            self.server.hub().leave(self.id, watch_id);
            self.server.metrics().watch.watchers.dec();
        }
        if known || self.ended.remove(&watch_id) {
            let revision = self.server.member().store().revision();
            let response = WatchResponse { watch_id, canceled: true, ..Default::default() };
            self.control(revision, response);
        }
    }

    fn report_progress(&self) {
        // Notifications for a client that does not read would only pile up.
        if !self.outbox.has_room() {
            return;
        }
        let hub = self.server.hub();
        for (watch_id, watcher) in &self.watchers {
            let idle = watcher.behind.is_none() && !hub.was_active(self.id, *watch_id);
            if watcher.progress && idle {
                hub.request_progress(self.id, *watch_id, &self.outbox, self.watchers.len());
            }
        }
    }

    /// Reads one piece of history for an unsynced watcher, and serves other watchers that the piece
    /// covers, as long as there is room.
    async fn catch_up(&mut self, turn: Turn, mut room: Permit) -> Result<(), Fault> {
        let reading = std::mem::replace(&mut self.reading, READING_BYTES);
        let view = self.server.member().view();
        self.end_compacted(&view);
        let behind = self.next_behind();
        let Some(Wanted { watch_id, from, .. }) = behind.first() else { return Ok(()) };
        self.served = *watch_id;
        if *from > view.revision() {
            let watch_id = *watch_id;
            let from = *from;
            self.join(watch_id, from, None);
            return Ok(());
        }
        let Portions { reached, portions } = self.server.history().read(turn, view, behind).await?;
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

    /// Whether a watcher's events that found no room must be read again later. If the watcher is
    /// the first one of the read, the next read takes as much memory as its events need, up to a
    /// quarter of the budget. If this read had that much already, the events are sent all the same.
    fn asks_for_more(&mut self, had: usize, bytes: usize, is_first: bool) -> bool {
        if is_first {
            let most = self.server.member().budget().limit() / 4;
            self.reading = bytes.min(most).max(READING_BYTES);
        }
        !is_first || self.reading > had
    }

    /// The unsynced watchers for the next turn, round robin, so that a watcher far behind does not
    /// delay the others.
    fn next_behind(&self) -> Vec<Wanted> {
        let wanted = |(id, watcher): (&i64, &Watcher)| {
            let watch_id = *id;
            let interest = watcher.interest.clone();
            Some(Wanted { watch_id, from: watcher.behind?, interest })
        };
        let before = self.watchers.range(..=self.served);
        let after = self.watchers.range(self.served + 1..);
        after.chain(before).filter_map(wanted).take(WATCHERS_PER_TURN).collect()
    }

    /// Ends watchers that want compacted events.
    fn end_compacted(&mut self, view: &View) {
        let compacted = view.compacted();
        let doomed = self
            .watchers
            .iter()
            .filter(|(_, watcher)| watcher.behind.is_some_and(|from| from < compacted));
        let doomed: Vec<i64> = doomed.map(|(id, _)| *id).collect();
        for watch_id in doomed {
            self.watchers.remove(&watch_id);
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

/// Waits for memory, and then for a turn to read.
async fn turn_with_room(account: Account, bytes: usize, history: History) -> (Permit, Turn) {
    let bytes = if planted::has(Mistake::ReadAtOnce) { 0 } else { bytes };
    let room = loop {
        match account.acquire(bytes, tokio::time::Instant::now() + ROOM_WITHIN).await {
            Ok(room) => break room,
            Err(_) => tokio::time::sleep(ROOM_PAUSE).await,
        }
    };
    (room, history.turn().await)
}

/// Returns when there has been no leader for three election timeouts; never if `needed` is false.
pub(crate) async fn leader_lost(server: Server, needed: bool) {
    if !needed {
        std::future::pending::<()>().await;
    }
    let patience = server.member().election_timeout() * 3;
    let mut raft = server.member().status();
    loop {
        if raft.wait_for(|raft| raft.leader.is_none()).await.is_err() {
            return;
        }
        let found = raft.wait_for(|raft| raft.leader.is_some());
        if !matches!(tokio::time::timeout(patience, found).await, Ok(Ok(_))) {
            return;
        }
    }
}
