//! The rules for membership changes: decisions as a pure function of facts about the members.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use quorate_proto::peer::member_change::{Add, Change, Update};
use quorate_proto::peer::member_change_reply::Refusal;

use crate::ground::member::Peer;

/// Percentage of the leader's log that a learner needs for its promotion, as in etcd.
const READY_PERCENT: u64 = 90;
/// A member that waits for its vote gets it when its log lacks at most this many entries.
const CLOSE_ENTRIES: u64 = 500;

/// The configured rules for membership changes.
#[derive(Clone, Copy, Debug)]
pub struct MembershipRules {
    /// Whether changes that could cost the quorum are refused.
    pub is_strict: bool,
    /// Maximum number of learners.
    pub learners_max: usize,
}

/// The facts about the members that the leader knows.
#[derive(Clone, Debug, Default)]
pub(super) struct MembershipFacts {
    /// The leader.
    pub(super) me: u64,
    /// Members with a vote.
    pub(super) voters: BTreeSet<u64>,
    pub(super) peers: BTreeMap<u64, Peer>,
    /// Members that have run at least once.
    pub(super) started: BTreeSet<u64>,
    /// Members that answer the leader.
    pub(super) active: BTreeSet<u64>,
    /// Members that have answered for long enough to count as healthy.
    pub(super) healthy: BTreeSet<u64>,
    /// The index up to which each member's log matches the leader's, if known.
    pub(super) matched: BTreeMap<u64, Option<u64>>,
    /// The last index in the leader's log.
    pub(super) last: u64,
}

/// The step that carries out a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write these as the new members.
    Write { voters: BTreeSet<u64>, peers: BTreeMap<u64, Peer> },
    /// Replace a member's node data.
    Set { id: u64, peer: Peer },
    /// Replace a member's node data, and give the member its vote if its log is close enough.
    Promote { id: u64, peer: Peer },
    /// Transfer the leadership to another member, which then makes the change.
    TransferLeadership,
}

/// Decides on a change. An added member gets the id `fresh`.
///
/// # Errors
/// The rule that forbids the change.
pub(super) fn decide(
    facts: &MembershipFacts,
    rules: MembershipRules,
    change: Change,
    fresh: u64,
) -> Result<Step, Refusal> {
    match change {
        Change::Add(add) => facts.add(rules, add, fresh),
        Change::Remove(remove) => facts.remove(rules, remove.id),
        Change::Update(update) => facts.update(update),
        Change::Promote(promote) => facts.promote(rules, promote.id),
    }
}

impl MembershipFacts {
    fn add(&self, rules: MembershipRules, add: Add, id: u64) -> Result<Step, Refusal> {
        if rules.is_strict {
            self.check_add(add.is_learner)?;
        }
        self.check_urls(&add.peer_urls, None)?;
        let learners = self.peers.values().filter(|peer| peer.is_learner).count();
        if add.is_learner && learners >= rules.learners_max {
            return Err(Refusal::TooManyLearners);
        }
        let mut peers = self.peers.clone();
        peers.insert(id, Peer { peer_urls: add.peer_urls, is_learner: add.is_learner });
        Ok(Step::Write { voters: self.voters.clone(), peers })
    }

    fn remove(&self, rules: MembershipRules, id: u64) -> Result<Step, Refusal> {
        let Some(peer) = self.peers.get(&id) else { return Err(Refusal::NotFound) };
        if rules.is_strict && !peer.is_learner {
            self.check_remove(id)?;
        }
        if id == self.me && self.voters.len() > 1 {
            return Ok(Step::TransferLeadership);
        }
        let mut voters = self.voters.clone();
        let mut peers = self.peers.clone();
        voters.remove(&id);
        peers.remove(&id);
        Ok(Step::Write { voters, peers })
    }

    fn update(&self, update: Update) -> Result<Step, Refusal> {
        let Update { id, peer_urls } = update;
        let Some(peer) = self.peers.get(&id) else { return Err(Refusal::NotFound) };
        self.check_urls(&peer_urls, Some(id))?;
        Ok(Step::Set { id, peer: Peer { peer_urls, is_learner: peer.is_learner } })
    }

    fn promote(&self, rules: MembershipRules, id: u64) -> Result<Step, Refusal> {
        let Some(peer) = self.peers.get(&id) else { return Err(Refusal::NotFound) };
        if !peer.is_learner {
            return Err(Refusal::NotLearner);
        }
        let matched = self.matched.get(&id).copied().flatten();
        if matched.unwrap_or(0) * 100 < self.last * READY_PERCENT {
            return Err(Refusal::LearnerNotReady);
        }
        if rules.is_strict {
            self.check_promote()?;
        }
        let peer_urls = peer.peer_urls.clone();
        Ok(Step::Promote { id, peer: Peer { peer_urls, is_learner: false } })
    }

    /// The voters with `id` added, and the unchanged members.
    pub(super) fn with_vote(&self, id: u64) -> (BTreeSet<u64>, BTreeMap<u64, Peer>) {
        let mut voters = self.voters.clone();
        voters.insert(id);
        (voters, self.peers.clone())
    }

    /// A member that waits for its vote and can get it now.
    ///
    /// It must have started, and so have published its incarnation. Otherwise its acknowledgements
    /// could come from a data directory other than the one that gets the vote.
    pub(super) fn due_vote(&self) -> Option<u64> {
        let mut lacking = self.full_members().filter(|id| !self.voters.contains(id));
        lacking
            .find(|id| self.is_close(*id) && self.active.contains(id) && self.started.contains(id))
    }

    /// Whether a member's log is close enough to the leader's for a vote.
    pub(super) fn is_close(&self, id: u64) -> bool {
        let matched = self.matched.get(&id).copied().flatten();
        matched.is_some_and(|matched| self.last.saturating_sub(matched) <= CLOSE_ENTRIES)
    }

    /// The member to transfer the leadership to: of the other voters that answer, the one with the
    /// longest log.
    pub(super) fn successor(&self) -> Option<u64> {
        let others = self.matched.iter().filter(|(id, _)| {
            **id != self.me && self.voters.contains(id) && self.active.contains(id)
        });
        others.max_by_key(|(_, matched)| **matched).map(|(id, _)| *id)
    }

    /// Members that have a vote or wait for one: all but learners.
    fn full_members(&self) -> impl Iterator<Item = u64> {
        self.peers.iter().filter(|(_, peer)| !peer.is_learner).map(|(id, _)| *id)
    }

    fn started(&self, ids: impl Iterator<Item = u64>) -> usize {
        ids.filter(|id| self.started.contains(id)).count()
    }

    fn healthy(&self) -> usize {
        self.full_members().filter(|id| *id == self.me || self.healthy.contains(id)).count()
    }

    fn check_add(&self, is_learner: bool) -> Result<(), Refusal> {
        if is_learner {
            return self.check_add_learner();
        }
        let members = self.full_members().count();
        let started = self.started(self.full_members());
        // A cluster of one running member may grow to two, although both must then run.
        let grows_from_one = members == 1 && started == 1;
        if !grows_from_one && started < quorum(members + 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        if members > 1 && self.healthy() < quorum(members + 1) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// A learner changes no quorum, so the voters' own quorum is enough. etcd counts a learner as
    /// a member that is down, and then refuses it while one voter of three is down: just when the
    /// operator needs it.
    fn check_add_learner(&self) -> Result<(), Refusal> {
        let healthy = self.voters.iter().filter(|id| **id == self.me || self.healthy.contains(id));
        if healthy.count() < quorum(self.voters.len()) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    fn check_remove(&self, id: u64) -> Result<(), Refusal> {
        let left = self.full_members().filter(|member| *member != id);
        let members = self.full_members().count();
        if self.started(left) < quorum(members - 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        let answers = |id: u64| id == self.me || self.active.contains(&id);
        if answers(id) && self.healthy() - 1 < quorum(members - 1) {
            return Err(Refusal::Unhealthy);
        }
        // Members that wait for their vote do not count for the remaining quorum.
        let votes = self.voters.iter().filter(|voter| **voter != id);
        let answering = votes.clone().filter(|id| answers(**id)).count();
        if self.voters.contains(&id) && answering < quorum(votes.count()) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// The learner itself counts as started: it has the log.
    fn check_promote(&self) -> Result<(), Refusal> {
        let members = self.full_members().count();
        if self.started(self.full_members()) + 1 < quorum(members + 1) {
            Err(Refusal::NotEnoughStarted)
        } else {
            Ok(())
        }
    }

    fn check_urls(&self, urls: &[String], of: Option<u64>) -> Result<(), Refusal> {
        let others = self.peers.iter().filter(|(id, _)| Some(**id) != of);
        let used: BTreeSet<&String> = others.flat_map(|(_, peer)| &peer.peer_urls).collect();
        if urls.iter().any(|url| used.contains(url)) { Err(Refusal::UrlExists) } else { Ok(()) }
    }
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

/// The reason for refusing a promotion, in the words of etcd's metric.
pub(super) fn reason(refusal: Refusal) -> &'static str {
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
