//! The state that all services share.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Error, Fault};
use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::Member;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;

use crate::error::status;
use crate::metrics::Metrics;
use crate::scan::pool::Pool;
use crate::watch::history::History;
use crate::watch::hub::Hub;

/// Bytes of the largest message in addition to the largest request, as in etcd.
pub(crate) const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest size of a request in bytes.
    pub max_request_bytes: usize,
    /// Most operations in a transaction.
    pub max_txn_ops: usize,
    /// Shortest TTL of a lease in seconds.
    pub min_lease_ttl: i64,
    /// Time between the progress notifications of a watch that asks for them.
    pub watch_progress_interval: Duration,
}

/// The running server that all services use. Clones share it.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    member: Arc<Member>,
    options: Options,
    hub: Hub,
    history: History,
    scans: Pool,
    metrics: Metrics,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// A server for `member`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no thread for scans.
    pub fn new(member: Arc<Member>, options: Options) -> io::Result<Self> {
        let metrics = Metrics::new(member.identity().member_id);
        let hub = Hub::new(member.clone());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let scans = Pool::start()?;
        let history = History::new();
        let inner = Inner { member, options, hub, history, scans, metrics, tasks, stop };
        let server = Self { inner: Arc::new(inner) };
        let hub = server.inner.hub.clone();
        let stop = server.inner.stop.clone();
        let run = async move { stop.run_until_cancelled(hub.run()).await };
        server.inner.tasks.spawn(run);
        Ok(server)
    }

    /// The member behind the API.
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

    /// The token that is cancelled when the server stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// Ends all streams, and waits for their tasks.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// A header with this revision.
    pub(crate) fn header(&self, revision: i64) -> ResponseHeader {
        let identity = self.member().identity();
        let raft_term = self.member().status_now().term;
        let cluster_id = identity.cluster_id;
        let member_id = identity.member_id;
        ResponseHeader { cluster_id, member_id, revision, raft_term }
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

    /// Ends the member because it cannot read its own state. Returns the error for the client,
    /// which must not look like an answer.
    pub(crate) fn fault(&self, fault: &Fault) -> Status {
        self.member().fail(fault);
        Status::internal("etcdserver: cannot read the store")
    }

    /// The gRPC status of a failed read.
    pub(crate) fn read_failed(&self, error: Error) -> Status {
        match error {
            Error::Refusal(refusal) => status(refusal),
            Error::Fault(fault) => self.fault(&fault),
        }
    }

    /// The threads on which scans run.
    pub(crate) fn scans(&self) -> &Pool {
        &self.inner.scans
    }
}
