//! The requests of other members to the raft protocol.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::BoxStream;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, ClientWriteResponse, SnapshotResponse,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::leader_id_std::CommittedLeaderId;
use quorate_core::LogPosition;

use super::adapter::OpenRaft;
use crate::ground::consensus::Unavailable;
use crate::log::snapshot::Snapshot;
use crate::log::types::{Payload, ReplyTo, TypeConfig, Vote, position};

/// Timeout for confirming leadership for another member's read.
const CONFIRM_WITHIN: Duration = Duration::from_millis(500);

/// openraft's answer, or its error.
type Answered<T> = Result<T, RaftError<TypeConfig>>;
/// openraft's answer, or its error, for calls that fail only when the member has stopped.
type Alive<T> = Result<T, Fatal<TypeConfig>>;
/// The result of a proposal.
pub(crate) type Written = Result<ClientWriteResponse<TypeConfig>, ClientWriteError<TypeConfig>>;

impl OpenRaft {
    /// The vote that this member gave last, or that of the leader it follows.
    pub(crate) fn vote_given(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    /// The last entry that this member knows to be committed.
    pub(crate) fn committed_at(&self) -> Option<LogPosition> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        metrics.local_committed.as_ref().map(position)
    }

    /// The index up to which `member` has acknowledged its log to this leader, 0 if unknown; `None`
    /// unless this member leads by `vote`.
    pub(crate) fn acknowledged_by(&self, member: u64, vote: &Vote) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leads = *vote == metrics.vote && metrics.current_leader == Some(self.me());
        let matched = metrics.replication.as_ref().and_then(|all| *all.get(&member)?);
        leads.then(|| matched.map_or(0, |id| position(&id).index))
    }

    /// Appends a leader's entries.
    pub(crate) fn append_entries<S>(
        &self,
        requests: S,
    ) -> BoxStream<'static, Alive<StreamAppendResult<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + 'static,
    {
        Box::pin(self.raft.stream_append(requests))
    }

    /// Processes a leader's heartbeat.
    pub(crate) async fn heartbeat(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Answered<AppendEntriesResponse<TypeConfig>> {
        self.raft.append_entries(request).await
    }

    /// Whether this member follows the leader with this vote. The answer comes after openraft has
    /// processed everything sent to it earlier.
    pub(crate) async fn follows(&self, vote: Vote) -> Alive<bool> {
        self.raft.with_raft_state(move |state| *state.vote_ref() == vote).await
    }

    /// Answers a vote request.
    pub(crate) async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Answered<VoteResponse<TypeConfig>> {
        self.raft.vote(request).await
    }

    /// Answers a pre-vote request.
    pub(crate) async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Answered<VoteResponse<TypeConfig>> {
        self.raft.pre_vote(request).await
    }

    /// Takes over the leadership at the leader's request.
    pub(crate) async fn accept_leadership(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Alive<TransferLeaderResponse<TypeConfig>> {
        self.raft.handle_transfer_leader(request).await
    }

    /// Installs a leader's snapshot.
    pub(crate) async fn install_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Alive<SnapshotResponse<TypeConfig>> {
        self.raft.install_full_snapshot(vote, snapshot).await
    }

    /// Proposes another member's command, in `term` and in no other: the sender relies on that. The
    /// result goes to `reply_to`.
    ///
    /// # Errors
    /// The member has stopped.
    pub(crate) async fn propose_for(
        &self,
        payload: Payload,
        term: u64,
        reply_to: ReplyTo<Written>,
    ) -> Alive<()> {
        let write = self.raft.write(payload).responder(reply_to);
        write.with_leader(CommittedLeaderId::new(term)).await
    }

    /// The read index for another member's read, if this member leads.
    pub(crate) async fn read_index_here(&self) -> Result<u64, Unavailable> {
        let asked = tokio::time::timeout(CONFIRM_WITHIN, self.confirmed_index()).await;
        asked.unwrap_or(Err(Unavailable::NotLeader { leader: None }))
    }
}
