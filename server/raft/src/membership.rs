//! Changes the members of the cluster.
//!
//! Each change is one log entry that adds or removes at most one vote, so any quorum before the
//! change shares a member with any quorum after it. An added member gets its vote once its log is
//! close to the leader's, so it cannot delay commits before that. Listings show the member as a
//! voter even before it has its vote.

pub(crate) mod rules;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use quorate_proto::peer as pb;
use quorate_proto::peer::member_change::Change;
use quorate_proto::peer::member_change_reply::Refusal;
use rules::{MembershipFacts, MembershipRules, Step, decide, reason};
use tokio::time::Instant;

use crate::consensus::adapter::OpenRaft;
use crate::consensus::members::MembershipStatus;
use crate::ground::consensus::{Consensus as _, Unavailable};
use crate::metrics::Metrics;

/// How long a member must have been connected to count as healthy for a change, as in etcd.
const HEALTHY_FOR: Duration = Duration::from_secs(5);
/// Timeout for another member to take over the leadership.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before the activity of the members is checked again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Changes the members while this member leads.
pub(crate) struct Membership {
    me: u64,
    consensus: Arc<OpenRaft>,
    store: Arc<Shared>,
    rules: MembershipRules,
    metrics: Arc<Metrics>,
    /// Held during a change, so that each change is decided on the result of the one before it.
    change_lock: tokio::sync::Mutex<()>,
}

impl Membership {
    /// Creates the part of member `me` that changes the members of the cluster while `me` leads.
    pub(crate) fn new(
        me: u64,
        consensus: Arc<OpenRaft>,
        store: Arc<Shared>,
        rules: MembershipRules,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { me, consensus, store, rules, metrics, change_lock: tokio::sync::Mutex::default() }
    }

    /// Makes a change if this member leads. Otherwise the reply's refusal is `NotLeader`. If
    /// `expected` is given, the change is made only if the configuration index is still `expected`.
    pub(crate) async fn change_here(
        &self,
        change: Change,
        expected: Option<u64>,
    ) -> pb::MemberChangeReply {
        let _one = self.change_lock.lock().await;
        match self.change(change, expected).await {
            Ok((added, index)) => pb::MemberChangeReply { refusal: 0, added, index },
            Err(refusal) => pb::MemberChangeReply { refusal: refusal as i32, ..Default::default() },
        }
    }

    async fn change(&self, change: Change, expected: Option<u64>) -> Result<(u64, u64), Refusal> {
        self.wait_for_activity().await?;
        let is_add = matches!(change, Change::Add(_));
        let is_promotion = matches!(change, Change::Promote(_));
        let (status, facts) = self.facts();
        self.check_expected(&status, expected)?;
        let fresh = self.fresh_id(&facts);
        let made = match decide(&facts, self.rules, change, fresh) {
            Ok(step) => self.carry_out(&status, step).await,
            Err(refusal) => Err(refusal),
        };
        if is_promotion && made != Err(Refusal::NotLeader) {
            // Only the leader counts a promotion.
            self.metrics.cluster.promoted(made.err().map(reason));
        }
        made.map(|index| (if is_add { fresh } else { 0 }, index))
    }

    /// Refuses a change if the members have changed since the expected configuration.
    ///
    /// The entry of the step is appended only if `status` still has the last members in the
    /// leader's log. The entries before the step's entry never change, so the result of this check
    /// is right on every member that applies the entry, at any time.
    ///
    /// # Errors
    /// `NotLeader` if the last change is not committed yet. That change may still be replaced, so
    /// the requester asks again.
    fn check_expected(
        &self,
        status: &MembershipStatus,
        expected: Option<u64>,
    ) -> Result<(), Refusal> {
        let last = status.index();
        if expected.is_none() || last == expected {
            return Ok(());
        }
        let is_committed = last.is_some_and(|last| last <= self.consensus.committed());
        Err(if is_committed { Refusal::ConfigurationChanged } else { Refusal::NotLeader })
    }

    /// Carries out a step. Returns the index of its last entry.
    async fn carry_out(&self, status: &MembershipStatus, step: Step) -> Result<u64, Refusal> {
        match step {
            Step::Write { voters, peers } => {
                self.consensus.write_members(status, voters, peers).await
            }
            Step::Set { id, peer } => self.consensus.set_peer(status, id, peer).await,
            Step::Promote { id, peer } => {
                let promoted = self.consensus.set_peer(status, id, peer).await?;
                let (status, now) = self.facts();
                if !now.is_close(id) {
                    return Ok(promoted);
                }
                // If this fails, `grant_due_vote` gives the vote later: the member is no longer a
                // learner.
                let (voters, peers) = now.with_vote(id);
                let voted = self.consensus.write_members(&status, voters, peers).await;
                Ok(voted.unwrap_or(promoted))
            }
            Step::TransferLeadership => {
                // The requester asks the new leader next, which removes this member.
                self.transfer_leadership().await;
                Err(Refusal::NotLeader)
            }
        }
    }

    /// Whether changes that could cost the quorum are refused.
    pub(crate) fn is_strict(&self) -> bool {
        self.rules.is_strict
    }

    /// Waits until this leader knows for every member whether it answers. Before that, a new leader
    /// cannot determine whether a change could cost the quorum.
    async fn wait_for_activity(&self) -> Result<(), Refusal> {
        loop {
            let MembershipStatus { leader, term, voters, .. } = self.consensus.membership_status();
            if leader != Some(self.me) {
                return Err(Refusal::NotLeader);
            }
            if voters.len() == 1 || self.consensus.activity().is_complete(term) {
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// The current state of the members.
    fn facts(&self) -> (MembershipStatus, MembershipFacts) {
        let status = self.consensus.membership_status();
        let now = Instant::now();
        let activity = self.consensus.activity();
        // A member publishes its name when it first runs.
        let started = self.store.tables(|tables| {
            let named = tables.members.iter().filter(|(_, member)| !member.name.is_empty());
            named.map(|(id, _)| *id).collect()
        });
        let facts = MembershipFacts {
            me: self.me,
            voters: status.voters.clone(),
            peers: status.peers.clone(),
            started,
            active: activity.active_for(Duration::ZERO, now),
            healthy: activity.active_for(HEALTHY_FOR, now),
            matched: status.matched.clone(),
            last: status.last,
        };
        (status, facts)
    }

    /// Gives a waiting member its vote if the member's log is close enough. Call this regularly
    /// while this member leads.
    pub(crate) async fn grant_due_vote(&self) {
        if self.facts().1.due_vote().is_none() {
            return;
        }
        let _one = self.change_lock.lock().await;
        let (status, facts) = self.facts();
        let Some(id) = facts.due_vote() else { return };
        let (voters, peers) = facts.with_vote(id);
        match self.consensus.write_members(&status, voters, peers).await {
            Ok(_) => tracing::info!(member = format!("{id:x}"), "a member got its vote"),
            Err(refusal) => tracing::debug!(?refusal, "cannot give a new member its vote yet"),
        }
    }

    /// Transfers the leadership to another voter that answers, if there is one. Waits for a limited
    /// time until openraft no longer names this member as leader.
    pub(crate) async fn transfer_leadership(&self) {
        let Some(to) = self.facts().1.successor() else { return };
        tracing::info!(to = format!("{to:x}"), "transferring the leadership");
        // An error means that openraft has stopped, so this member no longer leads.
        self.consensus.transfer_leadership_to(to).await.ok();
        // After the timeout, the successor will not take over, and an election follows.
        tokio::time::timeout(TRANSFER_TIMEOUT, self.consensus.leadership_lost()).await.ok();
    }

    /// Starts a transfer of the leadership to `to`, which must be a voter. Does not wait for the
    /// end of the transfer.
    ///
    /// # Errors
    /// The member has stopped.
    pub(crate) async fn transfer_leadership_to(&self, to: u64) -> Result<(), Unavailable> {
        self.consensus.transfer_leadership_to(to).await
    }

    /// A random id that no member has or had.
    fn fresh_id(&self, facts: &MembershipFacts) -> u64 {
        if planted::has(Mistake::ReuseMemberId)
            && let Some(id) = self.store.tables(|tables| tables.removed.first().copied())
        {
            return id;
        }
        loop {
            let id = rand::random::<u64>();
            let was_used = self.store.tables(|tables| tables.removed.contains(&id));
            if id != 0 && !was_used && !facts.peers.contains_key(&id) {
                return id;
            }
        }
    }
}
