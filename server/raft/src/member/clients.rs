//! What clients ask of a member.

use quorate_core::{Command, Reply};

use super::Member;
use crate::disk::claims::Claim;
use crate::ground::member::MemberInfo;
use crate::ground::request::{MemberError, RequestError};
use crate::leader::lessor::{Renewal, TimeToLive};

impl Member {
    /// Proposes a command and waits for its answer.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may be carried out all the same.
    pub async fn propose(&self, command: &Command) -> Result<Reply, RequestError> {
        self.requests.propose(command).await
    }

    /// Checks a command against the quota and the room on the disk; raises the alarm when it does
    /// not fit any more. While the alarm is raised, nothing is proposed that would be refused when
    /// it is applied: the log needs its room. Room on the disk is claimed until the command is
    /// answered.
    pub async fn check_quota(&self, command: &Command) -> Result<Option<Claim>, RequestError> {
        self.requests.check_quota(command).await
    }

    /// Waits until a read sees everything that was acknowledged before this call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        self.requests.linearize().await
    }

    /// Gives a lease its full time again.
    pub async fn renew_lease(&self, id: i64) -> Result<Renewal, RequestError> {
        self.asking.renew_lease(id).await
    }

    /// The time of a lease; `None` for one that does not exist. This member then has everything
    /// that was acknowledged before the call.
    pub async fn lease_time_to_live(&self, id: i64) -> Result<Option<TimeToLive>, RequestError> {
        self.asking.lease_time_to_live(id).await
    }

    /// Adds a member and returns it.
    pub async fn add_member(
        &self,
        peer_urls: Vec<String>,
        is_learner: bool,
    ) -> Result<MemberInfo, MemberError> {
        self.asking.add_member(peer_urls, is_learner).await
    }

    /// Removes a member, which stops.
    pub async fn remove_member(&self, id: u64) -> Result<(), MemberError> {
        self.asking.remove_member(id).await
    }

    /// Changes where a member is reached by the others.
    pub async fn update_member(&self, id: u64, peer_urls: Vec<String>) -> Result<(), MemberError> {
        self.asking.update_member(id, peer_urls).await
    }

    /// Gives a learner a vote.
    pub async fn promote_member(&self, id: u64) -> Result<(), MemberError> {
        self.asking.promote_member(id).await
    }

    /// Hands leadership to another member that has a vote; this one must lead.
    pub async fn move_leader(&self, to: u64) -> Result<(), MemberError> {
        self.asking.move_leader(to).await
    }
}
