//! Requests of clients: proposals, and waits before linearizable reads.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::auth::Origin;
use quorate_core::store::Shared;
use quorate_core::{Command, CommandKind, Refusal, Reply, quota as costs};
use quorate_proto::etcdserverpb::AlarmType;
use tokio::time::Instant;

use super::admission::Admission;
use crate::consensus::leader_contact::LeaderContact;
use crate::disk::quota::{self, Quota};
use crate::disk::reservations::Reservation;
use crate::ground::consensus::{Consensus, Holding};
use crate::ground::request::RequestError;
use crate::metrics::Metrics;
use crate::read::ReadBarrier;

/// Takes clients' requests to consensus.
pub(crate) struct Requests {
    pub(crate) me: u64,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) barrier: Arc<ReadBarrier>,
    pub(crate) leader_contact: Arc<LeaderContact>,
    pub(crate) store: Arc<Shared>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) metrics: Arc<Metrics>,
    /// The timeout of a request.
    pub(crate) request_timeout: Duration,
    /// Time without a leader after which a member starts an election.
    pub(crate) election_timeout: Duration,
    pub(crate) admission: Admission,
}

impl Requests {
    /// Proposes a command on behalf of `origin` and waits for its answer. `reserved` is its disk
    /// space.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may still be applied. Until that is decided, it counts
    /// as in flight and keeps its reservation.
    pub(super) async fn propose(
        &self,
        command: &Command,
        origin: &Origin,
        reserved: Option<Reservation>,
    ) -> Result<Reply, RequestError> {
        let payload = command.encode_from(origin);
        let held = Holding::new((self.admission.admit(payload.len())?, reserved));
        let proposal = Proposal::new(&self.metrics, command.kind());
        let started = proposal.started();
        let until = started + self.request_timeout;
        let answer = tokio::time::timeout_at(until, self.consensus.propose(payload, held)).await;
        let unanswered = |_| self.leader_contact.history.unanswered(started, self.election_timeout);
        let answer = answer.map_err(unanswered)??;
        proposal.answered();
        match answer {
            Some(answer) => Ok(answer?),
            None => Ok(Reply::Done),
        }
    }

    /// Checks a command that adds data against the quota and the free disk space, and raises the
    /// alarm if it does not fit. While the alarm is raised, such a command is refused here: it
    /// would be refused when applied, and the log needs its space. The returned reservation of disk
    /// space is for the proposal; `None` for a command that adds nothing.
    pub(super) async fn check_quota(
        &self,
        command: &Command,
    ) -> Result<Option<Reservation>, RequestError> {
        let me = self.me;
        let cost = costs::cost(command);
        if cost == 0 {
            return Ok(None);
        }
        let mine = (AlarmType::Nospace as i32, me);
        let reserved = tokio::time::timeout(self.request_timeout, self.quota.reserve(cost));
        let reservation = reserved.await.map_err(|_| RequestError::Timeout)?;
        if reservation.is_none() {
            let is_mine = || self.store.tables(|tables| tables.alarms.contains(&mine));
            // The alarm may have been disarmed through another member.
            let stands = is_mine() && self.linearize().await.is_ok() && is_mine();
            // As in etcd, the client gets the same error whether or not the alarm could be raised.
            if !stands {
                let origin = self.store.cluster_origin();
                if let Err(error) = self.propose(&quota::alarm(me), &origin, None).await {
                    tracing::warn!(%error, "cannot raise the NOSPACE alarm yet");
                }
            }
            return Err(Refusal::NoSpace.into());
        }
        // With a CORRUPT alarm, the state machine refuses the command with its own error.
        let is_raised = || {
            let [full, corrupt] = [AlarmType::Nospace, AlarmType::Corrupt];
            self.store.tables(|tables| tables.is_raised(full) && !tables.is_raised(corrupt))
        };
        if is_raised() {
            // The alarm may have been disarmed through another member.
            self.linearize().await?;
            if is_raised() {
                return Err(Refusal::NoSpace.into());
            }
        }
        Ok(reservation)
    }

    /// Waits until a read sees every write acknowledged before this call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn linearize(&self) -> Result<(), RequestError> {
        self.linearize_since(Instant::now()).await
    }

    pub(super) async fn linearize_since(&self, started: Instant) -> Result<(), RequestError> {
        let until = started + self.request_timeout;
        match tokio::time::timeout_at(until, self.barrier.pass()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.metrics.read_indexes_failed.inc();
                Err(error)
            }
            Err(_) => {
                self.metrics.slow_read_indexes.inc();
                Err(RequestError::Timeout)
            }
        }
    }
}

/// A proposal that waits for its answer. Dropped without [`Proposal::answered`], it counts as
/// failed.
struct Proposal<'a> {
    metrics: &'a Metrics,
    kind: CommandKind,
    started: Instant,
    open: bool,
}

impl<'a> Proposal<'a> {
    fn new(metrics: &'a Metrics, kind: CommandKind) -> Self {
        Self { metrics, kind, started: Instant::now(), open: true }
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn answered(mut self) {
        self.open = false;
    }
}

impl Drop for Proposal<'_> {
    fn drop(&mut self) {
        if self.open {
            self.metrics.proposals_failed.inc();
            self.metrics.durations.unanswered(self.kind, self.started);
        } else {
            self.metrics.durations.answered(self.kind, self.started);
        }
    }
}
