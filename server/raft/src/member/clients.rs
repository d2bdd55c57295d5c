//! The requests of clients to a member.

use quorate_core::auth::Origin;
use quorate_core::{Command, Reply};

use super::Member;
use crate::disk::reservations::Reservation;
use crate::ground::member::MemberInfo;
use crate::ground::request::{MemberError, RequestError};
use crate::leader::lessor::{Renewal, TimeToLive};

impl Member {
    /// Proposes a command on behalf of `origin` and waits for its answer. `reserved` is from
    /// [`Self::check_quota`].
    ///
    /// # Errors
    /// The state machine's refusal, or why there is no answer.
    ///
    /// # Cancel safety
    /// If the future is dropped, the command may still be applied. Until that is decided, it counts
    /// as in flight and keeps its reservation.
    pub async fn propose(
        &self,
        command: &Command,
        origin: &Origin,
        reserved: Option<Reservation>,
    ) -> Result<Reply, RequestError> {
        self.requests.propose(command, origin, reserved).await
    }

    /// Checks a command that adds data against the quota and the free disk space, and raises the
    /// alarm if it does not fit. While the alarm is raised, such a command is refused here: it
    /// would be refused when applied, and the log needs its space. The returned reservation of
    /// disk space is for the proposal; `None` for a command that adds nothing.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`](quorate_core::Refusal::NoSpace) if the command does not fit. `Timeout`
    /// if the disk space is not checked in time. As for [`linearize`](Self::linearize) if this
    /// member cannot find out whether the alarm is still raised.
    pub async fn check_quota(
        &self,
        command: &Command,
    ) -> Result<Option<Reservation>, RequestError> {
        self.requests.check_quota(command).await
    }

    /// Waits until a read sees every write acknowledged before this call.
    ///
    /// # Errors
    /// `Timeout`, `TooManyRequests` if too many reads wait, or `Stopped`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        self.requests.linearize().await
    }

    /// Renews a lease to its full TTL, at the leader.
    ///
    /// # Errors
    /// `NoLeader` or `Timeout` if no leader answers in time, or `Stopped`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may still be renewed.
    pub async fn renew_lease(&self, id: i64) -> Result<Renewal, RequestError> {
        self.leader_client.renew_lease(id).await
    }

    /// The remaining time of a lease; `None` if it does not exist. This member has then applied
    /// every write acknowledged before the call.
    ///
    /// # Errors
    /// `NoLeader` or `Timeout` if no leader answers in time, or `Stopped`.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn lease_time_to_live(&self, id: i64) -> Result<Option<TimeToLive>, RequestError> {
        self.leader_client.lease_time_to_live(id).await
    }

    /// Adds a member and returns it. With an `expected` configuration index, this and the other
    /// changes below are made only if it is still the index of the last change of the members.
    ///
    /// # Errors
    /// [`MemberError::ConfigurationChanged`]: the last change is not the expected one. Otherwise
    /// the rule that forbids the change, or why the leader did not answer. After
    /// [`RequestError::LeaderChanged`] and a timeout, the change may still be made.
    ///
    /// # Cancel safety
    /// If the future is dropped, the change may still be made. The same holds for the other changes
    /// below.
    pub async fn add_member(
        &self,
        peer_urls: Vec<String>,
        is_learner: bool,
        expected: Option<u64>,
    ) -> Result<MemberInfo, MemberError> {
        self.leader_client.add_member(peer_urls, is_learner, expected).await
    }

    /// Removes a member, which then stops.
    ///
    /// # Errors
    /// As for [`add_member`](Self::add_member).
    pub async fn remove_member(&self, id: u64, expected: Option<u64>) -> Result<(), MemberError> {
        self.leader_client.remove_member(id, expected).await
    }

    /// Changes a member's peer URLs.
    ///
    /// # Errors
    /// As for [`add_member`](Self::add_member).
    pub async fn update_member(
        &self,
        id: u64,
        peer_urls: Vec<String>,
        expected: Option<u64>,
    ) -> Result<(), MemberError> {
        self.leader_client.update_member(id, peer_urls, expected).await
    }

    /// Promotes a learner to a voter.
    ///
    /// # Errors
    /// As for [`add_member`](Self::add_member).
    pub async fn promote_member(&self, id: u64, expected: Option<u64>) -> Result<(), MemberError> {
        self.leader_client.promote_member(id, expected).await
    }

    /// Transfers the leadership to another voter, and waits until it leads. This member must lead.
    ///
    /// # Errors
    /// `NotLeader`; `CannotLead` if the target has no vote; `Timeout`; or `Stopped`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the leadership may still be transferred.
    pub async fn move_leader(&self, to: u64) -> Result<(), MemberError> {
        self.leader_client.move_leader(to).await
    }
}
