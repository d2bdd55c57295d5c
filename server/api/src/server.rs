//! What all services share.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Error, Fault};
use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::Member;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::error::status;
use crate::metrics::Metrics;
use crate::watch::history::History;
use crate::watch::hub::Hub;

/// The version of etcd that we are compatible with, as clients see it.
pub const ETCD_VERSION: &str = "3.7.1";
/// The version of the cluster and of the storage as clients see it.
pub const CLUSTER_VERSION: &str = "3.7.0";

/// Bytes that a message may have beyond the largest request, as in etcd.
pub(crate) const GRPC_OVERHEAD_BYTES: usize = 512 << 10;
/// Scans over many keys that run at once, at most; no more than there are processors but two.
/// Others wait. They run on threads of their own, so that they do not hold up small requests.
const SCANS_MAX: usize = 8;
const SCANS_MIN: usize = 2;

/// Limits and habits of the API.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the largest request.
    pub max_request_bytes: usize,
    /// Operations of a transaction.
    pub max_txn_ops: usize,
    /// Seconds that a lease lasts at least.
    pub min_lease_ttl: i64,
    /// How often a watch that asks for it is told how far it has come.
    pub watch_progress_interval: Duration,
}

/// The running server behind all services. Cloning shares it.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    member: Arc<Member>,
    options: Options,
    hub: Hub,
    history: History,
    scans: Arc<Semaphore>,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Serves `member`.
    pub fn new(member: Arc<Member>, options: Options) -> Self {
        let metrics = Metrics::new(member.identity().member_id);
        let hub = Hub::new(member.clone());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let processors = std::thread::available_parallelism().map_or(SCANS_MIN, usize::from);
        let scans = Arc::new(Semaphore::new(processors.clamp(SCANS_MIN, SCANS_MAX)));
        let history = History::new();
        let inner = Inner { member, options, hub, history, scans, metrics, tasks, stop };
        let server = Self { inner: Arc::new(inner) };
        let (hub, stop) = (server.inner.hub.clone(), server.inner.stop.clone());
        let run = async move { stop.run_until_cancelled(hub.run()).await };
        server.inner.tasks.spawn(run);
        server
    }

    /// The member that is served.
    pub fn member(&self) -> &Member {
        &self.inner.member
    }

    /// The metrics of the API.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    pub(crate) fn history(&self) -> &History {
        &self.inner.history
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Ends when the server stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Ends streams, and waits for what serves them.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// A header with this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        let identity = self.member().identity();
        let raft_term = self.member().status_now().term;
        let (cluster_id, member_id) = (identity.cluster_id, identity.member_id);
        ResponseHeader { cluster_id, member_id, revision, raft_term }
    }

    /// A header with the revision of the last write.
    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.member().store().revision())
    }

    /// Completes a header that the state machine gave a revision.
    pub(crate) fn fill(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(match revision {
            0 => self.header_now(),
            revision => self.header(revision),
        });
    }

    /// What a client is told when this member cannot read its own state, which is the member's end:
    /// nothing that could be taken for an answer.
    pub(crate) fn fault(&self, fault: &Fault) -> Status {
        self.member().fail(fault);
        Status::internal("etcdserver: cannot read the store")
    }

    /// The failure of a read as a status.
    pub(crate) fn read_failed(&self, error: Error) -> Status {
        match error {
            Error::Refusal(refusal) => status(refusal),
            Error::Fault(fault) => self.fault(&fault),
        }
    }

    /// A place for each scan that runs.
    pub(crate) fn scans(&self) -> Arc<Semaphore> {
        self.inner.scans.clone()
    }
}
