//! The requests of clients to a member.

use quorate_core::{Command, Reply};

use super::Member;
use crate::disk::reservations::Reservation;
use crate::ground::member::MemberInfo;
use crate::ground::request::{MemberError, RequestError};
use crate::leader::lessor::{Renewal, TimeToLive};

impl Member {
    /// Proposes a command and waits for its answer. `reserved` is from [`Self::check_quota`].
    ///
    /// # Errors
    /// The state machine's refusal, or why there is no answer.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may still be applied. Until then, it counts as in flight
    /// and keeps its reservation.
    pub async fn propose(
        &self,
        command: &Command,
        reserved: Option<Reservation>,
    ) -> Result<Reply, RequestError> {
        self.requests.propose(command, reserved).await
    }

    /// Checks a command that adds data against the quota and the free disk space, and raises the
    /// alarm if it does not fit. While the alarm is raised, such a command is refused here: it
    /// would be refused when applied, and the log needs its space. The returned reservation of
    /// disk space is for the proposal; `None` for a command that adds nothing.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`](quorate_core::Refusal::NoSpace) if the command does not fit.
    pub async fn check_quota(
        &self,
        command: &Command,
    ) -> Result<Option<Reservation>, RequestError> {
        self.requests.check_quota(command).await
    }

    /// Waits until a read sees every write acknowledged before this call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        self.requests.linearize().await
    }

    /// Renews a lease to its full TTL.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may still be renewed.
    pub async fn renew_lease(&self, id: i64) -> Result<Renewal, RequestError> {
        self.asking.renew_lease(id).await
    }

    /// The remaining time of a lease; `None` if it does not exist. This member has then applied
    /// every write acknowledged before the call.
    pub async fn lease_time_to_live(&self, id: i64) -> Result<Option<TimeToLive>, RequestError> {
        self.asking.lease_time_to_live(id).await
    }

    /// Adds a member and returns it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the change may still be made. The same holds for the other changes
    /// below.
    pub async fn add_member(
        &self,
        peer_urls: Vec<String>,
        is_learner: bool,
    ) -> Result<MemberInfo, MemberError> {
        self.asking.add_member(peer_urls, is_learner).await
    }

    /// Removes a member, which then stops.
    pub async fn remove_member(&self, id: u64) -> Result<(), MemberError> {
        self.asking.remove_member(id).await
    }

    /// Changes a member's peer URLs.
    pub async fn update_member(&self, id: u64, peer_urls: Vec<String>) -> Result<(), MemberError> {
        self.asking.update_member(id, peer_urls).await
    }

    /// Promotes a learner to a voter.
    pub async fn promote_member(&self, id: u64) -> Result<(), MemberError> {
        self.asking.promote_member(id).await
    }

    /// Hands the leadership to another voter, and waits until it leads. This member must lead.
    pub async fn move_leader(&self, to: u64) -> Result<(), MemberError> {
        self.asking.move_leader(to).await
    }
}
