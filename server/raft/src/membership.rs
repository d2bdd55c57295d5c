//! Changing the members of the cluster.
//!
//! Each change is one log entry that adds or removes one vote at most, so that any two quorums that
//! may decide have a member in common. A member that is added gets its vote as soon as its log is
//! close to the leader's: until then it cannot hold up anything. Who asks sees it as what it is to
//! be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::entry::{EntryPayload, RaftPayload as _};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Raft};
use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use quorate_proto::peer as pb;
use quorate_proto::peer::member_change::Change;
use quorate_proto::peer::member_change_reply::Refusal;

use crate::consensus::activity::Activity;
use crate::consensus::state_machine::StateMachine;
use crate::ground::member::Peer;
use crate::log::types::{LogId, Membership as Config, StoredMembership, TypeConfig};
use crate::metrics::Metrics;

/// How long members must have been connected to count for a change, as in etcd.
const HEALTHY_FOR: Duration = Duration::from_secs(5);
/// A learner may be promoted when it has this much of the leader's log, in percent, as in etcd.
const READY_PERCENT: u64 = 90;
/// A member that is to vote gets its vote when it lacks no more entries than this.
const CLOSE_ENTRIES: u64 = 500;
/// How long a member may take to take leadership over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);
/// Pause before a change is tried again while another one is not committed yet.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// How the members of a cluster may change.
#[derive(Clone, Copy, Debug)]
pub struct MembershipRules {
    /// Whether a change that could cost the quorum is refused.
    pub is_strict: bool,
    /// Most members without a vote.
    pub learners_max: usize,
}

type Written = Result<
    openraft::raft::ClientWriteResponse<TypeConfig>,
    RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
>;

/// Changes the members while this member leads.
pub(crate) struct Membership {
    me: u64,
    raft: Raft<TypeConfig, StateMachine>,
    store: Arc<Shared>,
    activity: Arc<Activity>,
    rules: MembershipRules,
    metrics: Arc<Metrics>,
    /// Held while a change is made: each is decided on what the one before it left.
    one_at_a_time: tokio::sync::Mutex<()>,
}

/// What is asked of a change: who the members are, and who of them has a vote.
struct Draft {
    observed: Arc<StoredMembership>,
    voters: BTreeSet<u64>,
    peers: BTreeMap<u64, Peer>,
}

impl Draft {
    fn is_voter(&self, id: u64) -> bool {
        self.voters.contains(&id)
    }

    /// Those who have a vote, or are to get one.
    fn full_members(&self) -> impl Iterator<Item = u64> {
        self.peers.iter().filter(|(_, peer)| !peer.is_learner).map(|(id, _)| *id)
    }
}

impl Membership {
    /// Changes of members that `me` makes when it leads.
    pub(crate) fn new(
        me: u64,
        raft: Raft<TypeConfig, StateMachine>,
        store: Arc<Shared>,
        activity: Arc<Activity>,
        rules: MembershipRules,
        metrics: Arc<Metrics>,
    ) -> Self {
        let one_at_a_time = tokio::sync::Mutex::default();
        Self { me, raft, store, activity, rules, metrics, one_at_a_time }
    }

    /// Makes a change if this member leads.
    pub(crate) async fn change_here(&self, change: Change) -> pb::MemberChangeReply {
        let _one = self.one_at_a_time.lock().await;
        match self.change(change).await {
            Ok((added, index)) => pb::MemberChangeReply { refusal: 0, added, index },
            Err(refusal) => pb::MemberChangeReply { refusal: refusal as i32, ..Default::default() },
        }
    }

    async fn change(&self, change: Change) -> Result<(u64, u64), Refusal> {
        self.know_activity().await?;
        match change {
            Change::Add(add) => self.add(add).await,
            Change::Remove(remove) => self.remove(remove.id).await,
            Change::Update(update) => self.update(update).await,
            Change::Promote(promote) => {
                let promoted = self.promote(promote.id).await;
                match &promoted {
                    // Whoever leads counts it.
                    Err(Refusal::NotLeader) => {}
                    outcome => {
                        let reason = outcome.as_ref().err().map(|refusal| reason(*refusal));
                        self.metrics.cluster.promoted(reason);
                    }
                }
                promoted
            }
        }
    }

    /// Whether changes are refused that could cost the quorum.
    pub(crate) fn is_strict(&self) -> bool {
        self.rules.is_strict
    }

    /// Waits until this member knows who answers it: one that leads for a moment only cannot tell
    /// yet whether a change could cost the quorum.
    async fn know_activity(&self) -> Result<(), Refusal> {
        loop {
            let (leader, term, voters) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let voters = metrics.membership_config.membership().voter_ids().count();
                (metrics.current_leader, metrics.vote.leader_id.term, voters)
            };
            if leader != Some(self.me) {
                return Err(Refusal::NotLeader);
            }
            if voters == 1 || self.activity.is_complete(term) {
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Gives their vote to members that are to have one and are close enough. To be called now and
    /// then while this member leads.
    pub(crate) async fn complete(&self) {
        // Only who has said with which data directory it runs: an acknowledgement counts for the
        // one that has the vote, not for another one that takes its place.
        let waiting = |draft: &Draft| {
            let mut lacking = draft.full_members().filter(|id| !draft.is_voter(*id));
            lacking.find(|id| {
                self.is_close(*id)
                    && self.activity.is_active(*id)
                    && self.started([*id].into_iter()) > 0
            })
        };
        if waiting(&self.draft()).is_none() {
            return;
        }
        let _one = self.one_at_a_time.lock().await;
        let mut draft = self.draft();
        let Some(id) = waiting(&draft) else { return };
        draft.voters.insert(id);
        match self.append(draft).await {
            Ok(_) => tracing::info!(member = format!("{id:x}"), "a member has its vote now"),
            Err(refusal) => tracing::debug!(?refusal, "no vote for a new member yet"),
        }
    }

    fn draft(&self) -> Draft {
        let metrics = self.raft.metrics();
        let observed = metrics.borrow_watched().membership_config.clone();
        let membership = observed.membership();
        let voters = membership.voter_ids().collect();
        let peers = membership.nodes().map(|(id, peer)| (*id, peer.clone())).collect();
        Draft { voters, peers, observed }
    }

    async fn add(&self, add: pb::member_change::Add) -> Result<(u64, u64), Refusal> {
        let mut draft = self.draft();
        if self.rules.is_strict {
            self.check_add(&draft, add.is_learner)?;
        }
        check_urls(&draft, &add.peer_urls, None)?;
        let learners = draft.peers.values().filter(|peer| peer.is_learner).count();
        if add.is_learner && learners >= self.rules.learners_max {
            return Err(Refusal::TooManyLearners);
        }
        let id = self.fresh_id(&draft);
        draft.peers.insert(id, Peer { peer_urls: add.peer_urls, is_learner: add.is_learner });
        let index = self.append(draft).await?;
        Ok((id, index))
    }

    async fn remove(&self, id: u64) -> Result<(u64, u64), Refusal> {
        let mut draft = self.draft();
        if !draft.peers.contains_key(&id) {
            return Err(Refusal::NotFound);
        }
        if self.rules.is_strict {
            self.check_remove(&draft, id)?;
        }
        if id == self.me && draft.voters.len() > 1 {
            // The new leader removes this one; whoever asked asks there.
            self.hand_over().await;
            return Err(Refusal::NotLeader);
        }
        draft.voters.remove(&id);
        draft.peers.remove(&id);
        Ok((0, self.append(draft).await?))
    }

    async fn update(&self, update: pb::member_change::Update) -> Result<(u64, u64), Refusal> {
        let draft = self.draft();
        let Some(peer) = draft.peers.get(&update.id) else { return Err(Refusal::NotFound) };
        check_urls(&draft, &update.peer_urls, Some(update.id))?;
        let peer = Peer { peer_urls: update.peer_urls, is_learner: peer.is_learner };
        Ok((0, self.set_peer(update.id, peer).await?))
    }

    async fn promote(&self, id: u64) -> Result<(u64, u64), Refusal> {
        let draft = self.draft();
        let Some(peer) = draft.peers.get(&id) else { return Err(Refusal::NotFound) };
        if !peer.is_learner {
            return Err(Refusal::NotLearner);
        }
        let (matched, last) = self.positions(id);
        if matched.unwrap_or(0) * 100 < last * READY_PERCENT {
            return Err(Refusal::LearnerNotReady);
        }
        if self.rules.is_strict {
            self.check_promote(&draft)?;
        }
        let peer = Peer { peer_urls: peer.peer_urls.clone(), is_learner: false };
        let promoted = self.set_peer(id, peer).await?;
        if !self.is_close(id) {
            return Ok((0, promoted));
        }
        // Should this fail, it is made good for later: the member is to have a vote.
        let mut draft = self.draft();
        draft.voters.insert(id);
        Ok((0, self.append(draft).await.unwrap_or(promoted)))
    }

    /// Hands leadership to another member that has a vote and answers, if there is one, and waits
    /// for a while until it has it.
    pub(crate) async fn hand_over(&self) {
        let metrics = self.raft.metrics();
        let best = {
            let metrics = metrics.borrow_watched();
            let voters: BTreeSet<u64> =
                metrics.membership_config.membership().voter_ids().collect();
            let replication = metrics.replication.iter().flatten();
            let others = replication.filter(|(id, _)| {
                **id != self.me && voters.contains(id) && self.activity.is_active(**id)
            });
            others.max_by_key(|(_, matched)| **matched).map(|(id, _)| *id)
        };
        if let Some(to) = best {
            tracing::info!(to = format!("{to:x}"), "handing leadership over");
            // A raft that has stopped leads no more.
            self.raft.trigger().transfer_leader(to).await.ok();
            let gone = async {
                let mut changes = self.raft.server_metrics();
                while changes.borrow_watched().current_leader == Some(self.me) {
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
            };
            // Who does not take it in this time does not take it: others stand for election then.
            tokio::time::timeout(HAND_OVER_WITHIN, gone).await.ok();
        }
    }

    /// How far the log of `id` matches, and where this member's ends.
    fn positions(&self, id: u64) -> (Option<u64>, u64) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref().and_then(|all| *all.get(&id)?);
        (matched.map(|id: LogId| id.index()), metrics.last_log_index.unwrap_or(0))
    }

    fn is_close(&self, id: u64) -> bool {
        let (matched, last) = self.positions(id);
        matched.is_some_and(|matched| last.saturating_sub(matched) <= CLOSE_ENTRIES)
    }

    /// An id that no member ever had.
    fn fresh_id(&self, draft: &Draft) -> u64 {
        if planted::has(Mistake::ReuseMemberId)
            && let Some(id) = self.store.tables(|tables| tables.removed.first().copied())
        {
            return id;
        }
        loop {
            let id = rand::random::<u64>();
            let was_used = self.store.tables(|tables| tables.removed.contains(&id));
            if id != 0 && !was_used && !draft.peers.contains_key(&id) {
                return id;
            }
        }
    }

    /// A member that has run has a name.
    fn started(&self, ids: impl Iterator<Item = u64>) -> usize {
        self.store.tables(|tables| {
            let is_started =
                |id: &u64| tables.members.get(id).is_some_and(|member| !member.name.is_empty());
            ids.filter(is_started).count()
        })
    }

    fn healthy(&self, draft: &Draft) -> usize {
        let members = draft.full_members();
        members.filter(|id| *id == self.me || self.activity.is_active_for(*id, HEALTHY_FOR)).count()
    }

    fn check_add(&self, draft: &Draft, is_learner: bool) -> Result<(), Refusal> {
        let members = draft.full_members().count();
        let started = self.started(draft.full_members());
        // One member that runs may become two, although both must then run.
        let grows_from_one = members == 1 && started == 1;
        if !is_learner && !grows_from_one && started < quorum(members + 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        if members > 1 && self.healthy(draft) < quorum(members + 1) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    fn check_remove(&self, draft: &Draft, id: u64) -> Result<(), Refusal> {
        if draft.peers[&id].is_learner {
            return Ok(());
        }
        let left = draft.full_members().filter(|member| *member != id);
        let members = draft.full_members().count();
        if self.started(left) < quorum(members - 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        let is_down = id != self.me && !self.activity.is_active(id);
        if !is_down && self.healthy(draft) - 1 < quorum(members - 1) {
            return Err(Refusal::Unhealthy);
        }
        // Members that still wait for their vote do not help those that are left to decide.
        let votes = draft.voters.iter().filter(|voter| **voter != id);
        let answering = votes.clone().filter(|id| **id == self.me || self.activity.is_active(**id));
        if draft.is_voter(id) && answering.count() < quorum(votes.count()) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// The learner itself runs: it has the log.
    fn check_promote(&self, draft: &Draft) -> Result<(), Refusal> {
        let members = draft.full_members().count();
        let started = self.started(draft.full_members());
        match started + 1 < quorum(members + 1) {
            true => Err(Refusal::NotEnoughStarted),
            false => Ok(()),
        }
    }

    /// Writes the entry that makes the members those of the draft.
    async fn append(&self, draft: Draft) -> Result<u64, Refusal> {
        let Draft { observed, voters, peers } = draft;
        let config = Config::new(vec![voters], peers).map_err(|error| {
            tracing::error!(%error, "a membership that cannot be");
            Refusal::Unknown
        })?;
        loop {
            let unchanged =
                Precondition::LastMembershipLogId { last_membership_log_id: *observed.log_id() };
            let blank = EntryPayload::blank();
            let written = self.raft.append_membership(config.clone(), blank, [unchanged]).await;
            if let Some(outcome) = outcome(written) {
                return outcome;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn set_peer(&self, id: u64, peer: Peer) -> Result<u64, Refusal> {
        loop {
            let change = ChangeMembers::SetNodes(BTreeMap::from([(id, peer.clone())]));
            if let Some(outcome) = outcome(self.raft.change_membership(change, true).await) {
                return outcome;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// What became of a change; `None` when it has to wait for one before it.
fn outcome(written: Written) -> Option<Result<u64, Refusal>> {
    let refusal = match written {
        Ok(response) => return Some(Ok(response.log_id.index())),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))
        | Err(RaftError::APIError(ClientWriteError::PreconditionFailed(_))) => Refusal::NotLeader,
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        ))) => return None,
        Err(error) => {
            tracing::warn!(%error, "a change of the members failed");
            Refusal::Unknown
        }
    };
    Some(Err(refusal))
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

fn check_urls(draft: &Draft, urls: &[String], of: Option<u64>) -> Result<(), Refusal> {
    let others = draft.peers.iter().filter(|(id, _)| Some(**id) != of);
    let used: BTreeSet<&String> = others.flat_map(|(_, peer)| &peer.peer_urls).collect();
    match urls.iter().any(|url| used.contains(url)) {
        true => Err(Refusal::UrlExists),
        false => Ok(()),
    }
}

/// Why a promotion was refused, in the words that etcd's metric has for it.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound => "membership: ID not found",
        Refusal::NotLearner => "membership: can only promote a learner member",
        Refusal::LearnerNotReady => {
            "etcdserver: can only promote a learner member which is in sync with leader"
        }
        Refusal::NotEnoughStarted => {
            "etcdserver: re-configuration failed due to not enough started members"
        }
        Refusal::Unhealthy => "etcdserver: unhealthy cluster",
        other => other.as_str_name(),
    }
}
