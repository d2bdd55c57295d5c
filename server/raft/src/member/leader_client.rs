//! Requests that only the leader can answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::peer as pb;
use quorate_proto::peer::lease_reply::Outcome;
use quorate_proto::peer::member_change::{Add, Change, Promote, Remove, Update};
use quorate_proto::peer::member_change_reply::Refusal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::member_list::MemberList;
use crate::ground::consensus::RaftStatus;
use crate::ground::exclusion::Exclusion;
use crate::ground::member::MemberInfo;
use crate::ground::progress::Progress;
use crate::ground::request::{MemberError, RequestError};
use crate::leader::leases::Leases;
use crate::leader::lessor::{Renewal, TimeToLive};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::network::peer_pool::PeerPool;
use crate::read::ReadBarrier;

/// Pause before the leader is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Timeout for the leader's answer about a lease.
const LEASE_WITHIN: Duration = Duration::from_secs(1);
/// Election timeouts without a leader after which the quorum counts as lost.
const ELECTIONS: u32 = 3;

/// Asks the leader, which may be this member.
pub(crate) struct LeaderClient {
    pub(crate) me: u64,
    pub(crate) pool: Arc<PeerPool>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) barrier: Arc<ReadBarrier>,
    pub(crate) member_list: Arc<MemberList>,
    pub(crate) progress: Progress,
    pub(crate) status: watch::Receiver<RaftStatus>,
    pub(crate) metrics: Arc<Metrics>,
    /// The timeout of a request.
    pub(crate) request_timeout: Duration,
    /// Time without a leader after which a member starts an election.
    pub(crate) election_timeout: Duration,
}

impl LeaderClient {
    /// Renews a lease to its full TTL.
    pub(super) async fn renew_lease(&self, id: i64) -> Result<Renewal, RequestError> {
        let renewal = self.with_timeout(async {
            loop {
                match self.leader() {
                    Some(leader) if leader == self.me => {
                        if let Some(renewal) = self.leases.renew_here(id).await {
                            return renewal;
                        }
                    }
                    Some(leader) => {
                        let asked = self.ask_lease(leader, id, true).await;
                        match asked.map(|reply| (reply.outcome(), reply.granted)) {
                            Some((Outcome::Found, granted)) => return Renewal::Renewed(granted),
                            Some((Outcome::Missing, _)) => return Renewal::NotFound,
                            Some((Outcome::NotLeader, _)) | None => {}
                        }
                    }
                    None => {}
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
        let renewal = renewal.await?;
        if matches!(renewal, Renewal::Renewed(_)) {
            self.metrics.lease_renewed.inc();
        }
        Ok(renewal)
    }

    /// The remaining time of a lease; `None` if it does not exist. This member has then applied
    /// every write acknowledged before the call.
    pub(super) async fn lease_time_to_live(
        &self,
        id: i64,
    ) -> Result<Option<TimeToLive>, RequestError> {
        let time = self.with_timeout(async {
            self.barrier.pass().await?;
            loop {
                match self.leader() {
                    Some(leader) if leader == self.me => {
                        if let Some(time) = self.leases.time_here(id).await {
                            return Ok(time);
                        }
                    }
                    Some(leader) => {
                        if let Some(reply) = self.ask_lease(leader, id, false).await {
                            let pb::LeaseReply { granted, remaining, .. } = reply;
                            match reply.outcome() {
                                Outcome::Found => {
                                    return Ok(Some(TimeToLive { remaining, granted }));
                                }
                                Outcome::Missing => return Ok(None),
                                Outcome::NotLeader => {}
                            }
                        }
                    }
                    None => {}
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
        time.await?
    }

    /// Waits for an answer until the request times out or the cluster continues without this
    /// member.
    async fn with_timeout<T>(&self, answer: impl Future<Output = T>) -> Result<T, RequestError> {
        tokio::select! {
            answer = tokio::time::timeout(self.request_timeout, answer) => {
                answer.map_err(|_| self.no_answer())
            }
            _ = self.pool.notice().posted() => Err(RequestError::Stopped),
        }
    }

    async fn ask_lease(&self, leader: u64, id: i64, renew: bool) -> Option<pb::LeaseReply> {
        let mut client = self.pool.peer(leader)?.control;
        let request = pb::LeaseRequest { id };
        let asked = async {
            if renew { client.renew_lease(request).await } else { client.lease_time(request).await }
        };
        match tokio::time::timeout(LEASE_WITHIN, asked).await {
            Ok(reply) => Some(reply.ok()?.into_inner()),
            Err(_) => {
                self.pool.renew(leader);
                None
            }
        }
    }

    /// Adds a member and returns it. This and the other changes are made only if `expected`, if
    /// given, is the configuration index.
    pub(super) async fn add_member(
        &self,
        peer_urls: Vec<String>,
        is_learner: bool,
        expected: Option<u64>,
    ) -> Result<MemberInfo, MemberError> {
        let add = Add { peer_urls: peer_urls.clone(), is_learner };
        let reply = self.change_members(Change::Add(add), expected).await?;
        let added = MemberInfo { id: reply.added, peer_urls, is_learner, ..Default::default() };
        Ok(added)
    }

    /// Removes a member, which then stops.
    pub(super) async fn remove_member(
        &self,
        id: u64,
        expected: Option<u64>,
    ) -> Result<(), MemberError> {
        match self.change_members(Change::Remove(Remove { id }), expected).await {
            // The removal is done: that is why this member got no answer.
            Err(MemberError::Request(RequestError::Stopped | RequestError::LeaderChanged))
                if id == self.me && self.pool.notice().posted_now() == Some(Exclusion::Removed) =>
            {
                Ok(())
            }
            removed => removed.map(drop),
        }
    }

    /// Changes a member's peer URLs.
    pub(super) async fn update_member(
        &self,
        id: u64,
        peer_urls: Vec<String>,
        expected: Option<u64>,
    ) -> Result<(), MemberError> {
        self.change_members(Change::Update(Update { id, peer_urls }), expected).await.map(drop)
    }

    /// Promotes a learner to a voter.
    pub(super) async fn promote_member(
        &self,
        id: u64,
        expected: Option<u64>,
    ) -> Result<(), MemberError> {
        self.change_members(Change::Promote(Promote { id }), expected).await.map(drop)
    }

    /// Asks the leader for a change, and waits until it is applied here too.
    async fn change_members(
        &self,
        change: Change,
        expected: Option<u64>,
    ) -> Result<pb::MemberChangeReply, MemberError> {
        let changed = self.with_timeout(async {
            let begun = Instant::now();
            loop {
                // etcd, too, checks the connections before it looks for a leader.
                let is_known = self.leader().is_some() || begun.elapsed() < self.quorum_timeout();
                if matches!(change, Change::Add(_)) && self.is_strict() && !is_known {
                    return Err(MemberError::Unhealthy);
                }
                if let Some(reply) = self.ask_change(&change, expected).await {
                    let reply = check_refusal(reply)?;
                    self.progress.reach(reply.index).await;
                    return Ok(reply);
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
        changed.await?
    }

    /// The leader's answer; `None` if there was no leader, so nothing was changed.
    async fn ask_change(
        &self,
        change: &Change,
        expected: Option<u64>,
    ) -> Option<pb::MemberChangeReply> {
        let leader = self.leader()?;
        let reply = if leader == self.me {
            self.membership.change_here(change.clone(), expected).await
        } else {
            let mut client = self.pool.peer(leader)?.control;
            let change = pb::MemberChange { change: Some(change.clone()) };
            let asked = match expected {
                None => client.change_members(change).await,
                Some(expected) => {
                    let change = Some(change);
                    let request = pb::ConditionalMemberChange { expected, change };
                    client.change_members_if(request).await
                }
            };
            match asked {
                Ok(reply) => reply.into_inner(),
                Err(status) => {
                    tracing::debug!(%status, "the leader did not answer");
                    pb::MemberChangeReply { refusal: Refusal::Unknown as i32, ..Default::default() }
                }
            }
        };
        (reply.refusal() != Refusal::NotLeader).then_some(reply)
    }

    /// Transfers the leadership to another voter, and waits until it leads. This member must lead.
    pub(super) async fn move_leader(&self, to: u64) -> Result<(), MemberError> {
        if self.leader() != Some(self.me) {
            return Err(MemberError::NotLeader);
        }
        if !self.member_list.is_voter(to) {
            return Err(MemberError::CannotLead);
        }
        if to == self.me {
            return Ok(());
        }
        let mut status = self.status.clone();
        if self.membership.transfer_leadership_to(to).await.is_err() {
            return Err(RequestError::Stopped.into());
        }
        let moved = status.wait_for(|status| status.leader == Some(to));
        match tokio::time::timeout(self.request_timeout, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(RequestError::Stopped.into()),
            Err(_) => Err(RequestError::Timeout.into()),
        }
    }

    /// Time without a leader after which the quorum counts as lost.
    fn quorum_timeout(&self) -> Duration {
        self.election_timeout * ELECTIONS
    }

    fn is_strict(&self) -> bool {
        self.membership.is_strict()
    }

    fn leader(&self) -> Option<u64> {
        self.status.borrow().leader
    }

    /// The error for a request that timed out.
    fn no_answer(&self) -> RequestError {
        match self.leader() {
            Some(_) => RequestError::Timeout,
            None => RequestError::NoLeader,
        }
    }
}

fn check_refusal(reply: pb::MemberChangeReply) -> Result<pb::MemberChangeReply, MemberError> {
    Err(match reply.refusal() {
        Refusal::None => return Ok(reply),
        Refusal::NotLeader => MemberError::NotLeader,
        Refusal::Unknown => RequestError::LeaderChanged.into(),
        Refusal::NotFound => MemberError::NotFound,
        Refusal::UrlExists => MemberError::UrlExists,
        Refusal::NotLearner => MemberError::NotLearner,
        Refusal::LearnerNotReady => MemberError::LearnerNotReady,
        Refusal::TooManyLearners => MemberError::TooManyLearners,
        Refusal::NotEnoughStarted => MemberError::NotEnoughStarted,
        Refusal::Unhealthy => MemberError::Unhealthy,
        Refusal::ConfigurationChanged => MemberError::ConfigurationChanged,
    })
}
