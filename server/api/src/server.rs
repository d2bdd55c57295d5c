//! The state that all services share.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Error, Fault};
use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::Member;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;
use crate::header::header;
use crate::metrics::{CallTimes, Metrics};
use crate::password::Passwords;
use crate::scan::pool::Pool;
use crate::tokens::{TokenKind, Tokens};
use crate::tracer::Tracer;
use crate::watch::history::History;
use crate::watch::hub::Hub;
use crate::web_rules::WebRules;

/// Bytes by which the largest message exceeds the largest request, as in etcd.
const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest size of a request in bytes.
    pub max_request_bytes: usize,
    /// Maximum number of operations in a transaction.
    pub max_txn_ops: usize,
    /// The work for a hash of a password, as a power of two: from 4 to 31.
    pub bcrypt_cost: u32,
    /// The tokens that clients get for their passwords.
    pub tokens: TokenKind,
    /// Whether the common name of a client's certificate proves the identity of the client.
    pub trusts_common_names: bool,
    /// Shortest TTL of a lease in seconds.
    pub min_lease_ttl: i64,
    /// Time between the progress notifications of a watch that asks for them.
    pub watch_progress_interval: Duration,
    /// A unary call that takes longer is logged.
    pub slow_call: Duration,
    /// Whether the metrics include a histogram of the duration of calls for each method.
    pub has_call_durations: bool,
    /// Whether the page `/debug/pprof/` is served.
    pub has_debug_page: bool,
    /// All settings that were given, as `--name=value`, for pages. They have no secrets.
    pub given_settings: Vec<String>,
    /// Whether the status page is served.
    pub has_status_page: bool,
    /// Whether the JSON gateway is served.
    pub serves_gateway: bool,
    /// The web pages that may send requests.
    pub web_rules: WebRules,
    /// Makes the spans of calls; `None` if calls are not traced.
    pub tracer: Option<Tracer>,
}

/// The running server that all services use. Clones share it.
#[derive(Clone)]
pub struct Server {
    parts: Arc<Parts>,
}

/// The state that the services share.
struct Parts {
    member: Arc<Member>,
    options: Options,
    hub: Hub,
    history: History,
    scans: Pool,
    passwords: Passwords,
    tokens: Arc<Tokens>,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// A server for `member`. The caller must be within a tokio runtime.
    ///
    /// # Errors
    /// The system has no thread for scans.
    pub fn new(member: Arc<Member>, options: Options) -> io::Result<Self> {
        let Options { has_call_durations, slow_call, .. } = options;
        let times = CallTimes { are_measured: has_call_durations, slow_after: slow_call };
        let metrics = Metrics::new(member.identity().member_id, &times);
        let hub = Hub::new(member.clone());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let scans = Pool::start()?;
        let history = History::new();
        let passwords = Passwords::new(options.bcrypt_cost, member.request_timeout());
        let tokens = Arc::new(Tokens::new(&options.tokens));
        member.listen_for_logins(tokens.clone());
        let parts =
            Parts { member, options, hub, history, scans, passwords, tokens, metrics, tasks, stop };
        let server = Self { parts: Arc::new(parts) };
        let hub = server.parts.hub.clone();
        let stop = server.parts.stop.clone();
        let run = async move { stop.run_until_cancelled(hub.run()).await };
        server.parts.tasks.spawn(run);
        Ok(server)
    }

    /// The member behind the API.
    pub fn member(&self) -> &Member {
        &self.parts.member
    }

    /// The metrics of the API.
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub(crate) fn options(&self) -> &Options {
        &self.parts.options
    }

    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        self.options().tracer.as_ref()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.parts.hub
    }

    pub(crate) fn history(&self) -> &History {
        &self.parts.history
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.parts.tasks
    }

    /// The token that is cancelled when the server stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.parts.stop
    }

    /// Bytes of the largest message.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.options().max_request_bytes + GRPC_OVERHEAD_BYTES
    }

    /// Ends all streams, and waits for their tasks.
    pub async fn stop(&self) {
        self.parts.stop.cancel();
        self.parts.tasks.close();
        self.parts.tasks.wait().await;
    }

    /// A header with this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        header(self.member(), revision)
    }

    /// A header with the revision of the last write.
    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.member().store().revision())
    }

    /// Completes a header in which the state machine has set only the revision. Without a revision,
    /// the header gets that of the last write.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(match revision {
            0 => self.header_now(),
            revision => self.header(revision),
        });
    }

    /// Ends the member because it cannot read its own state. Returns an error that the client
    /// cannot mistake for the outcome of its request.
    pub(crate) fn fault(&self, fault: &Fault) -> ApiError {
        self.member().fail(fault);
        ApiError::Unreadable
    }

    /// The error that the client gets when a read fails. A fault also ends the member.
    pub(crate) fn read_failed(&self, error: Error) -> ApiError {
        match error {
            Error::Refusal(refusal) => refusal.into(),
            Error::Fault(fault) => self.fault(&fault),
        }
    }

    /// The hashes of passwords.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.parts.passwords
    }

    /// The tokens of clients.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.parts.tokens
    }

    /// The threads on which scans run.
    pub(crate) fn scans(&self) -> &Pool {
        &self.parts.scans
    }
}
