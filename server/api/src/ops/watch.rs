//! A watch stream. Its task answers requests, and reads history for unsynced watchers: those that
//! start in the past or fell behind.

mod catch_up;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use opentelemetry::global::BoxedSpan;
use quorate_core::KeyRange;
use quorate_core::auth::Needs;
use quorate_core::planted::{self, Mistake};
use quorate_core::watch::Interest;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use quorate_raft::{Account, Permit};

use super::leader_lost;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;
use crate::tracer::operation::Operation;
use crate::watch::frame::{Frame, MESSAGE_BYTES, watched_key};
use crate::watch::history::{History, Turn};
use crate::watch::hub::Join;
use crate::watch::outbox::{Outbox, Reader};
use crate::watch::synced::{EVERY_WATCH, StreamId};

/// Bytes of the memory budget that a read of history begins with. A read of more events takes more.
const READING_BYTES: usize = MESSAGE_BYTES;
/// Time limit of one attempt to get memory for a read. Attempts are repeated.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// Pause after a failed attempt. An attempt fails at once if too many others wait.
const ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a watcher in addition to its keys, here and in the hub.
const WATCHER_BYTES: usize = 512;
/// Bytes of a stream's watchers that need no permit, because the permit of the call includes them.
const WATCHERS_FREE: usize = 4 << 10;

/// A watcher of the stream, synced or unsynced.
struct Watcher {
    interest: Interest,
    /// The start revision as requested.
    start: i64,
    fragment: bool,
    progress: bool,
    /// The permit for its memory.
    _room: Permit,
    /// Bytes of its memory that count towards [`WATCHERS_FREE`].
    free: usize,
    /// Ends with the watcher.
    _span: Option<BoxedSpan>,
}

/// The task of one stream.
struct WatchStream {
    server: Server,
    session: Session,
    id: StreamId,
    outbox: Outbox,
    watchers: BTreeMap<i64, Watcher>,
    /// The unsynced watchers: by id, the first main revision whose events were not sent.
    behind: BTreeMap<i64, i64>,
    /// Ids of watchers that a compaction ended. The client may still cancel them.
    ended: BTreeSet<i64>,
    next_id: i64,
    /// Number of unsynced watchers at the last count.
    slow: i64,
    /// The watcher for which history was read last. The next read begins with the unsynced watcher
    /// after it, round robin.
    served: i64,
    /// Bytes of the memory budget that the next read of history begins with.
    reading: usize,
    /// Sum of the watchers' `free`; at most [`WATCHERS_FREE`].
    free: usize,
}

impl Server {
    /// Opens a watch stream: takes the client's requests, and returns the messages for the client.
    /// The messages are charged to the account of the client's connection. With `needs_leader`, the
    /// stream ends once there has been no leader for a while.
    pub(crate) fn watch<R>(&self, session: &Session, requests: R, needs_leader: bool) -> Reader
    where
        R: Stream<Item = Result<WatchRequest, ApiError>> + Send + Unpin + 'static,
    {
        let outbox = Outbox::new(self.metrics().watch.clone(), &session.account);
        let stream = WatchStream::new(self.clone(), session.clone(), outbox.clone());
        self.tasks().spawn(stream.run(requests, needs_leader));
        Reader(outbox)
    }
}

impl WatchStream {
    fn new(server: Server, session: Session, outbox: Outbox) -> Self {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        let id = STREAMS.fetch_add(1, Ordering::Relaxed);
        Self {
            server,
            session,
            id,
            outbox,
            watchers: BTreeMap::new(),
            behind: BTreeMap::new(),
            ended: BTreeSet::new(),
            next_id: 0,
            slow: 0,
            served: 0,
            reading: READING_BYTES,
            free: 0,
        }
    }

    /// Serves the stream until it ends, and then removes its watchers.
    async fn run<R>(mut self, mut requests: R, needs_leader: bool)
    where
        R: Stream<Item = Result<WatchRequest, ApiError>> + Unpin,
    {
        self.server.metrics().watch.streams.inc();
        let end = self.serve(&mut requests, needs_leader).await;
        self.outbox.close(end);
        self.server.hub().leave_all(self.id);
        let watchers = i64::try_from(self.watchers.len()).unwrap_or(0);
        self.server.metrics().watch.watchers.sub(watchers);
        self.server.metrics().watch.slow.sub(self.slow);
        self.server.metrics().watch.streams.dec();
    }

    /// Serves the stream; returns the error that it ends with.
    async fn serve<R>(&mut self, requests: &mut R, needs_leader: bool) -> ApiError
    where
        R: Stream<Item = Result<WatchRequest, ApiError>> + Unpin,
    {
        let stop = self.server.stopping().clone();
        let interval = self.progress_interval();
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
        let leader_lost = leader_lost(self.server.clone(), needs_leader);
        tokio::pin!(leader_lost);
        // False once the client has closed its side of the stream. It may still receive events.
        let mut asks = true;
        // Kept across iterations, because dropping it would lose its place in the queue.
        let mut turn = None;
        loop {
            for lagging in self.outbox.take_lagging() {
                if self.watchers.contains_key(&lagging.watch_id) {
                    self.behind.insert(lagging.watch_id, lagging.next);
                }
            }
            if self.outbox.is_gone() {
                return ApiError::WatchCanceled;
            }
            let room = self.outbox.has_room();
            let reads = self.count_slow() > 0 && room;
            if reads && turn.is_none() {
                let account = self.outbox.account();
                let history = self.server.history().clone();
                turn = Some(Box::pin(turn_with_room(account, self.reading, history)));
            }
            // Not `biased`: other streams wait while this one holds a turn, so a client that sends
            // requests without a pause must not delay the read.
            tokio::select! {
                () = stop.cancelled() => return ApiError::Stopped,
                () = &mut leader_lost => return ApiError::NoLeader,
                request = requests.next(), if asks && room => match request {
                    Some(Ok(request)) => self.handle(request).await,
                    None => asks = false,
                    Some(Err(error)) => return error,
                },
                () = self.outbox.changed() => {}
                _ = ticks.tick() => self.report_progress(),
                granted = async { Some(turn.as_mut()?.await) }, if turn.is_some() => {
                    turn = None;
                    let Some((room, granted)) = granted.filter(|_| reads) else { continue };
                    if let Err(fault) = self.catch_up(granted, room).await {
                        return self.server.fault(&fault);
                    }
                }
            }
        }
    }

    /// Counts the unsynced watchers, and updates the metric.
    fn count_slow(&mut self) -> i64 {
        let slow = i64::try_from(self.behind.len()).unwrap_or(0);
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

    async fn handle(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
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

    async fn create(&mut self, create: WatchCreateRequest) {
        let revision = self.server.member().store().revision();
        if create.start_revision < 0 {
            return self.refuse(revision, ApiError::Compacted.text());
        }
        let range = KeyRange::from_wire(watched_key(&create.key), create.range_end.clone());
        let needs = || Needs::of_watch(range.clone());
        if let Err(error) = self.server.authorize(&self.session, needs).await {
            return self.refuse(revision, &denial(&error));
        }
        if range.is_empty() {
            return self.refuse(revision, ApiError::EmptyWatcherRange.text());
        }
        let Some(watch_id) = self.choose_id(create.watch_id) else {
            return self.refuse(revision, ApiError::DuplicateWatchId.text());
        };
        let wants = |filter: FilterType| create.filters.contains(&(filter as i32));
        let interest = Interest {
            range,
            no_put: wants(FilterType::Noput),
            no_delete: wants(FilterType::Nodelete),
            prev_kv: create.prev_kv,
        };
        let account = self.outbox.account();
        let bytes = WATCHER_BYTES + create.key.len() + create.range_end.len();
        let free = if self.free + bytes <= WATCHERS_FREE { bytes } else { 0 };
        let mut room = account.nothing();
        if !room.try_grow(bytes - free) {
            return self.refuse(revision, ApiError::TooManyRequests.text());
        };
        let from = if create.start_revision == 0 { revision + 1 } else { create.start_revision };
        let watcher = Watcher {
            interest,
            start: create.start_revision,
            fragment: create.fragment,
            progress: create.progress_notify,
            _room: room,
            free,
            _span: self.session.span(|| Operation::watch(&create)),
        };
        self.free += free;
        self.watchers.insert(watch_id, watcher);
        self.server.metrics().watch.watchers.inc();
        let created = WatchResponse { watch_id, created: true, ..Default::default() };
        self.join(watch_id, from, Some(self.answer(revision, created)));
    }

    /// The id of a new watcher: the requested id, or `None` if that id is in use. If the client
    /// requested 0, it is the next free id.
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
        self.server.message_bytes_max()
    }

    /// Hands a watcher over to the hub, unless the hub has begun to deliver events that the watcher
    /// needs. In that case, the watcher is unsynced.
    fn join(&mut self, watch_id: i64, from: i64, created: Option<Frame>) {
        let limit = self.fragment_limit();
        let Some(watcher) = self.watchers.get(&watch_id) else { return };
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
        match self.server.hub().join(join) {
            Ok(()) => self.behind.remove(&watch_id),
            Err(join) => self.behind.insert(watch_id, join.from),
        };
    }

    /// Removes a watcher; returns whether it existed.
    fn remove(&mut self, watch_id: i64) -> bool {
        let removed = self.watchers.remove(&watch_id);
        self.behind.remove(&watch_id);
        self.free -= removed.as_ref().map_or(0, |watcher| watcher.free);
        removed.is_some()
    }

    fn cancel(&mut self, watch_id: i64) {
        let known = self.remove(watch_id);
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
            let is_synced = !self.behind.contains_key(watch_id);
            let idle = is_synced && !hub.was_active(self.id, *watch_id);
            if watcher.progress && idle {
                hub.request_progress(self.id, *watch_id, &self.outbox, self.watchers.len());
            }
        }
    }
}

/// The text for a watch whose author does not have the rights. Clients of etcd know these texts.
fn denial(error: &ApiError) -> String {
    let denied = match error {
        ApiError::InvalidAuthToken | ApiError::AuthOldRevision | ApiError::UserEmpty => error,
        _ => &ApiError::PermissionDenied,
    };
    format!("rpc error: code = {:?} desc = {}", denied.code(), denied.text())
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
