//! One or several watches over one stream. After every interruption, each watch resumes where it
//! ended.

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

/// The interval between two progress requests.
const PROGRESS_EVERY: Duration = Duration::from_millis(25);
/// The interval at which a paused watch looks whether it may continue.
const PAUSE: Duration = Duration::from_millis(5);
/// The most queued requests. Further progress requests are dropped, because all progress requests
/// are the same.
const REQUESTS_MAX: usize = 4;
/// How many of the last observations are shown.
const LAST_SHOWN: usize = 4;

/// Watches over one stream.
#[derive(Debug)]
pub struct Watcher {
    parts: Vec<Part>,
    clock: Clock,
    state: Arc<State>,
    /// Whether the watcher never requests progress.
    is_quiet: bool,
    session: Option<JoinHandle<()>>,
}

/// One watch of the stream.
#[derive(Clone, Debug)]
struct Part {
    number: u64,
    interest: WatchCreateRequest,
    /// The last revision up to which the watch has received everything, apart from compacted
    /// history. At first, this is the revision before the start revision of the watch.
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

    /// The request that resumes the watch.
    fn next(&self) -> WatchCreateRequest {
        WatchCreateRequest { start_revision: self.seen() + 1, ..self.interest.clone() }
    }
}

#[derive(Debug, Default)]
struct State {
    received: Mutex<Vec<Observation>>,
    /// No message is read while this is set.
    is_paused: AtomicBool,
}

impl State {
    fn take(&self, observation: Observation) {
        self.received.lock().expect("no holder of the lock panics").push(observation);
    }
}

impl Watcher {
    /// A watcher with watch number `number` for `interest`. `interest` contains a start revision.
    pub fn new(number: u64, interest: WatchCreateRequest, clock: &Clock) -> Self {
        let parts = vec![Part::new(number, interest)];
        Self { parts, clock: clock.clone(), state: Arc::default(), is_quiet: false, session: None }
    }

    /// The same watcher without progress requests and with small buffers: only messages that the
    /// server sends by itself advance the watch.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Pauses or resumes reading.
    pub fn set_paused(&self, is_paused: bool) {
        self.state.is_paused.store(is_paused, Ordering::SeqCst);
    }

    /// Adds watch number `number` on the same stream. `interest` must have the same start revision
    /// as the first watch, because a stream reports progress only when all its watches have
    /// started.
    #[must_use]
    pub fn beside(mut self, number: u64, interest: WatchCreateRequest) -> Self {
        self.parts.push(Part::new(number, interest));
        self
    }

    /// Opens the watches at member number `member`, whose URL is `url`. Each watch starts right
    /// behind the last revision that it has received. The watches end with the connection.
    ///
    /// # Panics
    /// When the watches are already open.
    pub fn resume(&mut self, runtime: &Handle, member: usize, url: &str) {
        assert!(self.session.is_none(), "two sessions would record everything twice");
        let parts = self.parts.clone();
        let clock = self.clock.clone();
        let state = self.state.clone();
        let _entered = runtime.enter();
        let is_quiet = self.is_quiet;
        let channel = if is_quiet { narrow_channel(url) } else { channel(url) };
        let client = WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let session = Session { parts, member, clock, state, is_quiet };
        self.session = Some(runtime.spawn(async move {
            // An error ends the connection. The next connection delivers the missing messages.
            session.run(client).await.ok();
        }));
    }

    /// Whether the connection is open. When the connection has ended, all messages from it are
    /// recorded.
    pub fn is_open(&mut self) -> bool {
        self.session.take_if(|session| session.is_finished());
        self.session.is_some()
    }

    /// Waits for the end of the connection, so that all messages sent over the connection are
    /// recorded. After `limit`, ends the connection.
    pub async fn end_within(&mut self, limit: Duration) {
        if let Some(mut session) = self.session.take()
            && tokio::time::timeout(limit, &mut session).await.is_err()
        {
            session.abort();
            // The error only says that the task was aborted.
            session.await.ok();
        }
    }

    /// Whether the connection has ended or was never made.
    pub fn is_closed(&self) -> bool {
        self.session.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The last revision up to which all watches have received everything.
    pub fn seen(&self) -> i64 {
        self.parts.iter().map(Part::seen).min().expect("there is one at least")
    }

    /// Takes the observations that were made up to `until` and that no earlier call took.
    pub fn take(&self, until: Moment) -> Vec<Observation> {
        let mut told = self.state.received.lock().expect("no holder of the lock panics");
        let end = told.iter().position(|observation| observation.at > until);
        let end = end.unwrap_or(told.len());
        told.drain(..end).collect()
    }
}

/// The state of the watches and the last observations that no call has taken yet.
impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_closed() { "closed" } else { "open" };
        for part in &self.parts {
            let Part { number, interest, .. } = part;
            writeln!(f, "watch {number}, {state}, has seen {}: {interest:?}", part.seen())?;
        }
        let told = self.state.received.lock().expect("no holder of the lock panics");
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

/// The watches during one connection.
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
            self.observe(part, Observed::Requested(next));
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
                        self.receive(answer);
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

    /// Records a message for the watch that the message names, or for all watches if it names none.
    fn receive(&self, response: WatchResponse) {
        // The server numbers the watches of a stream in the order of their requests.
        let whose = usize::try_from(response.watch_id).ok().and_then(|id| self.parts.get(id));
        let parts = whose.map_or(self.parts.as_slice(), std::slice::from_ref);
        let progress = !response.created && !response.canceled && response.events.is_empty();
        let seen = match response.events.last().and_then(|event| event.kv.as_ref()) {
            Some(kv) => kv.mod_revision,
            None if progress => response.header.as_ref().map_or(0, |header| header.revision),
            // The watch continues at the compacted revision, which is still readable.
            None if response.canceled => response.compact_revision - 1,
            None => 0,
        };
        for part in parts {
            self.observe(part, Observed::Received(response.clone()));
            // `seen` advances after the observation, so that a reader of `seen` also finds the
            // observation.
            part.seen.fetch_max(seen, Ordering::SeqCst);
        }
    }

    fn observe(&self, part: &Part, what: Observed) {
        let watch = part.number;
        let member = self.member;
        let at = self.clock.now();
        self.state.take(Observation { watch, member, at, what });
    }
}

fn request(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}
