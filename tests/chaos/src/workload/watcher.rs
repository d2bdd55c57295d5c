//! One watch that is resumed after every interruption, where it was interrupted; or several over
//! one stream, each of which is.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use quorate_test_support::client::{MESSAGE_BYTES_MAX, channel, narrow_channel};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::history::{Clock, Moment, Observation, Observed};

/// How often a watch asks how far it has come.
const PROGRESS_EVERY: Duration = Duration::from_millis(25);
/// How often a watch that is paused looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(5);
/// Requests that wait to be sent; more are dropped, for they ask the same again.
const REQUESTS_MAX: usize = 4;
/// How much of what a watch was told is shown of it, from the end.
const LAST_SHOWN: usize = 4;

/// Watches over one stream.
#[derive(Debug)]
pub struct Watcher {
    parts: Vec<Part>,
    clock: Clock,
    state: Arc<State>,
    /// Whether it never asks how far it has come.
    is_quiet: bool,
    session: Option<JoinHandle<()>>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Part {
    number: u64,
    interest: WatchCreateRequest,
    /// The last revision up to which it was told everything, but for what was compacted before it
    /// could be told; one below its start at first.
    seen: Arc<AtomicI64>,
}

impl Part {
    fn new(number: u64, interest: WatchCreateRequest) -> Self {
        let seen = Arc::new(AtomicI64::new(interest.start_revision - 1));
        Self { number, interest, seen }
    }

    fn seen(&self) -> i64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// What it asks for when it goes on.
    fn next(&self) -> WatchCreateRequest {
        WatchCreateRequest { start_revision: self.seen() + 1, ..self.interest.clone() }
    }
}

#[derive(Debug, Default)]
struct State {
    told: Mutex<Vec<Observation>>,
    /// Nothing is read while it is set.
    is_paused: AtomicBool,
}

impl State {
    fn take(&self, observation: Observation) {
        self.told.lock().expect("nobody panics with it").push(observation);
    }
}

impl Watcher {
    /// Watch number `number` for what `interest` says, from its start revision on, which must be
    /// given.
    pub fn new(number: u64, interest: WatchCreateRequest, clock: &Clock) -> Self {
        let parts = vec![Part::new(number, interest)];
        Self { parts, clock: clock.clone(), state: Arc::default(), is_quiet: false, session: None }
    }

    /// Never asks how far it has come, and takes little ahead of what is read: what a server does
    /// not send by itself does not come.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Reads nothing from now on, or goes on reading.
    pub fn set_paused(&self, is_paused: bool) {
        self.state.is_paused.store(is_paused, Ordering::SeqCst);
    }

    /// Adds watch number `number` over the same stream, for other keys. It must begin where the
    /// first one does: how far a stream has come is told only when all its watches have begun.
    #[must_use]
    pub fn beside(mut self, number: u64, interest: WatchCreateRequest) -> Self {
        self.parts.push(Part::new(number, interest));
        self
    }

    /// Opens it at the member number `member` at `url`, right behind what it was told last. It
    /// ends with the connection.
    ///
    /// # Panics
    /// When it is open already.
    pub fn resume(&mut self, runtime: &Handle, member: usize, url: &str) {
        assert!(self.session.is_none(), "two sessions would be told everything twice");
        let (parts, clock, state) = (self.parts.clone(), self.clock.clone(), self.state.clone());
        let _entered = runtime.enter();
        let is_quiet = self.is_quiet;
        let channel = if is_quiet { narrow_channel(url) } else { channel(url) };
        let client = WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let session = Session { parts, member, clock, state, is_quiet };
        self.session = Some(runtime.spawn(async move {
            // An error is the end of the connection; what it kept from us is told by the next.
            session.run(client).await.ok();
        }));
    }

    /// Whether its connection has not ended; all that came over one that has ended is taken.
    pub fn is_open(&mut self) -> bool {
        self.session.take_if(|session| session.is_finished());
        self.session.is_some()
    }

    /// Waits for the end of the connection, so that all is taken which was sent over it, but no
    /// longer than `limit`.
    pub async fn end_within(&mut self, limit: Duration) {
        if let Some(mut session) = self.session.take()
            && tokio::time::timeout(limit, &mut session).await.is_err()
        {
            session.abort();
            // The error says that it was aborted.
            session.await.ok();
        }
    }

    /// Whether it is not open: its connection has ended, or was never made.
    pub fn is_closed(&self) -> bool {
        self.session.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The last revision up to which it was told everything.
    pub fn seen(&self) -> i64 {
        self.parts.iter().map(Part::seen).min().expect("there is one at least")
    }

    /// Takes what it was told since the last call, as long as that was before `until`.
    pub fn take(&self, until: Moment) -> Vec<Observation> {
        let mut told = self.state.told.lock().expect("nobody panics with it");
        let end = told.iter().position(|observation| observation.at > until);
        let end = end.unwrap_or(told.len());
        told.drain(..end).collect()
    }
}

/// Where it is, and what it was told since the last time that somebody took it.
impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_closed() { "closed" } else { "open" };
        for part in &self.parts {
            let Part { number, interest, .. } = part;
            writeln!(f, "watch {number}, {state}, has seen {}: {interest:?}", part.seen())?;
        }
        let told = self.state.told.lock().expect("nobody panics with it");
        told.iter().rev().take(LAST_SHOWN).rev().try_for_each(|told| writeln!(f, "  {told:?}"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.abort();
        }
    }
}

/// A watch as long as its connection lasts.
struct Session {
    parts: Vec<Part>,
    member: usize,
    clock: Clock,
    state: Arc<State>,
    is_quiet: bool,
}

impl Session {
    async fn run(&self, mut client: WatchClient<tonic::transport::Channel>) -> Result<(), Status> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        for part in &self.parts {
            let next = part.next();
            let create = RequestUnion::CreateRequest(next.clone());
            self.observe(part, Observed::Asked(next));
            requests.try_send(request(create)).expect("the queue is empty");
        }
        let mut answers = client.watch(ReceiverStream::new(receiver)).await?.into_inner();
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        loop {
            while self.state.is_paused.load(Ordering::SeqCst) {
                tokio::time::sleep(PAUSE).await;
            }
            tokio::select! {
                answer = answers.message() => match answer? {
                    Some(answer) => {
                        let ends = answer.canceled;
                        self.told(answer);
                        if ends {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                _ = ticks.tick(), if !self.is_quiet => {
                    let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
                    requests.try_send(request(progress)).ok();
                }
            }
        }
    }

    /// Takes down what is for one of the watches, or for all of them.
    fn told(&self, response: WatchResponse) {
        // The server counts them as they were asked for.
        let whose = usize::try_from(response.watch_id).ok().and_then(|id| self.parts.get(id));
        let parts = whose.map_or(self.parts.as_slice(), std::slice::from_ref);
        let progress = !response.created && !response.canceled && response.events.is_empty();
        let seen = match response.events.last().and_then(|event| event.kv.as_ref()) {
            Some(kv) => kv.mod_revision,
            None if progress => response.header.as_ref().map_or(0, |header| header.revision),
            // It goes on at the compacted revision, which is still there.
            None if response.canceled => response.compact_revision - 1,
            None => 0,
        };
        for part in parts {
            self.observe(part, Observed::Told(response.clone()));
            // Afterwards: whoever sees that we have come this far finds the observation.
            part.seen.fetch_max(seen, Ordering::SeqCst);
        }
    }

    fn observe(&self, part: &Part, what: Observed) {
        let (watch, member, at) = (part.number, self.member, self.clock.now());
        self.state.take(Observation { watch, member, at, what });
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}
