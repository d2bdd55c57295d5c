//! Reads and changes the members that the log names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::entry::{EntryPayload, RaftPayload as _};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::{ClientWriteResponse, Precondition};
use quorate_proto::peer::member_change_reply::Refusal;

use super::adapter::OpenRaft;
use crate::ground::consensus::Unavailable;
use crate::ground::member::Peer;
use crate::log::types::{LogId, Membership, TypeConfig};

/// Pause before a change is tried again while an earlier entry is uncommitted.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

type Written =
    Result<ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

/// The members, and the replication progress of each member.
pub(crate) struct MembershipStatus {
    /// The leader according to openraft, confirmed or not.
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    pub(crate) voters: BTreeSet<u64>,
    pub(crate) peers: BTreeMap<u64, Peer>,
    /// The index up to which each member's log matches the leader's log, if the index is known.
    /// Empty on followers.
    pub(crate) matched: BTreeMap<u64, Option<u64>>,
    /// The last index in this member's log.
    pub(crate) last: u64,
    /// The log entry that names these members.
    at: Option<LogId>,
}

impl MembershipStatus {
    /// Log index of the entry that names these members, committed or not.
    pub(crate) fn index(&self) -> Option<u64> {
        self.at.map(|at| at.index())
    }

    /// The condition that the members have not changed since this status.
    fn unchanged(&self) -> Precondition<TypeConfig> {
        Precondition::LastMembershipLogId { last_membership_log_id: self.at }
    }
}

impl OpenRaft {
    /// The current members.
    pub(crate) fn membership_status(&self) -> MembershipStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let replication = metrics.replication.iter().flatten();
        MembershipStatus {
            leader: metrics.current_leader,
            term: metrics.vote.leader_id.term,
            voters: membership.voter_ids().collect(),
            peers: membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect(),
            matched: replication.map(|(id, at)| (*id, at.map(|at| at.index()))).collect(),
            last: metrics.last_log_index.unwrap_or(0),
            at: *metrics.membership_config.log_id(),
        }
    }

    /// Appends the entry that names the new members, unless the members have changed since
    /// `before`. Returns the index of the entry.
    ///
    /// # Errors
    /// `NotLeader` if this member does not lead, or if the members have changed since `before`.
    /// `Unknown` after any other failure.
    pub(crate) async fn write_members(
        &self,
        before: &MembershipStatus,
        voters: BTreeSet<u64>,
        peers: BTreeMap<u64, Peer>,
    ) -> Result<u64, Refusal> {
        let members = Membership::new(vec![voters], peers).map_err(|error| {
            tracing::error!(%error, "openraft refuses a membership");
            Refusal::Unknown
        })?;
        loop {
            let blank = EntryPayload::blank();
            let conditions = [before.unchanged()];
            let written = self.raft.append_membership(members.clone(), blank, conditions).await;
            if let Some(outcome) = outcome(written) {
                return outcome;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Appends the entry that changes a member's node data, unless the members have changed since
    /// `before`. Returns the index of the entry.
    ///
    /// # Errors
    /// `NotLeader` if this member does not lead, or if the members have changed since `before`.
    /// `Unknown` after any other failure.
    pub(crate) async fn set_peer(
        &self,
        before: &MembershipStatus,
        id: u64,
        peer: Peer,
    ) -> Result<u64, Refusal> {
        loop {
            let change = ChangeMembers::SetNodes(BTreeMap::from([(id, peer.clone())]));
            let conditions = [before.unchanged()];
            let written = self.raft.change_membership_if(change, true, conditions).await;
            if let Some(outcome) = outcome(written) {
                return outcome;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks member `to` to take over the leadership. Does not wait until that member leads.
    ///
    /// # Errors
    /// This member has stopped.
    pub(crate) async fn transfer_leadership_to(&self, to: u64) -> Result<(), Unavailable> {
        self.raft.trigger().transfer_leader(to).await.map_err(|_| Unavailable::Stopped)
    }

    /// Waits until openraft no longer names this member as leader.
    pub(crate) async fn leadership_lost(&self) {
        let mut changes = self.raft.server_metrics();
        while changes.borrow_watched().current_leader == Some(self.me()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The result of a change; `None` if the caller must try the change again, because an earlier entry
/// is uncommitted.
fn outcome(written: Written) -> Option<Result<u64, Refusal>> {
    let refusal = match written {
        Ok(response) => return Some(Ok(response.log_id.index())),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))
        | Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_))) => Refusal::NotLeader,
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ))) => return None,
        Err(error) => {
            tracing::warn!(%error, "a membership change failed");
            Refusal::Unknown
        }
    };
    Some(Err(refusal))
}
