//! How the members may change: what is decided, from what is known and nothing else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use quorate_proto::peer::member_change::{Add, Change, Update};
use quorate_proto::peer::member_change_reply::Refusal;

use crate::ground::member::Peer;

/// A learner may be promoted when it has this much of the leader's log, in percent, as in etcd.
const READY_PERCENT: u64 = 90;
/// A member that is to vote gets its vote when it lacks no more entries than this.
const CLOSE_ENTRIES: u64 = 500;

/// How the members of a cluster may change.
#[derive(Clone, Copy, Debug)]
pub struct MembershipRules {
    /// Whether a change that could cost the quorum is refused.
    pub is_strict: bool,
    /// Most members without a vote.
    pub learners_max: usize,
}

/// What the leader knows of the members.
#[derive(Clone, Debug, Default)]
pub(super) struct Situation {
    /// The leader.
    pub(super) me: u64,
    /// Members that have a vote.
    pub(super) voters: BTreeSet<u64>,
    pub(super) peers: BTreeMap<u64, Peer>,
    /// Members that have run.
    pub(super) started: BTreeSet<u64>,
    /// Members that answer the leader.
    pub(super) active: BTreeSet<u64>,
    /// Members that have answered for long enough to count.
    pub(super) healthy: BTreeSet<u64>,
    /// Up to where the log of a member is the leader's, where that is known.
    pub(super) matched: BTreeMap<u64, Option<u64>>,
    /// Where the leader's log ends.
    pub(super) last: u64,
}

/// What is to be done for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The members become these.
    Write { voters: BTreeSet<u64>, peers: BTreeMap<u64, Peer> },
    /// What is known of a member becomes this.
    Set { id: u64, peer: Peer },
    /// The same, and the member gets its vote if its log is close enough.
    Promote { id: u64, peer: Peer },
    /// Another member leads first, and makes the change.
    HandOver,
}

/// What a change comes to. A member that is added gets the id `fresh`.
pub(super) fn decide(
    situation: &Situation,
    rules: MembershipRules,
    change: Change,
    fresh: u64,
) -> Result<Step, Refusal> {
    match change {
        Change::Add(add) => situation.add(rules, add, fresh),
        Change::Remove(remove) => situation.remove(rules, remove.id),
        Change::Update(update) => situation.update(update),
        Change::Promote(promote) => situation.promote(rules, promote.id),
    }
}

impl Situation {
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
            return Ok(Step::HandOver);
        }
        let (mut voters, mut peers) = (self.voters.clone(), self.peers.clone());
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

    /// The members when `id` has got its vote.
    pub(super) fn with_vote(&self, id: u64) -> (BTreeSet<u64>, BTreeMap<u64, Peer>) {
        let mut voters = self.voters.clone();
        voters.insert(id);
        (voters, self.peers.clone())
    }

    /// A member that is to have a vote and can get it now.
    ///
    /// Only one that has said with which data directory it runs: an acknowledgement counts for the
    /// one that has the vote, not for another one that takes its place.
    pub(super) fn due(&self) -> Option<u64> {
        let mut lacking = self.full_members().filter(|id| !self.voters.contains(id));
        lacking
            .find(|id| self.is_close(*id) && self.active.contains(id) && self.started.contains(id))
    }

    /// Whether the log of a member is close to the leader's.
    pub(super) fn is_close(&self, id: u64) -> bool {
        let matched = self.matched.get(&id).copied().flatten();
        matched.is_some_and(|matched| self.last.saturating_sub(matched) <= CLOSE_ENTRIES)
    }

    /// Which other member is to lead: of those that have a vote and answer, the one with the
    /// longest log.
    pub(super) fn successor(&self) -> Option<u64> {
        let others = self.matched.iter().filter(|(id, _)| {
            **id != self.me && self.voters.contains(id) && self.active.contains(id)
        });
        others.max_by_key(|(_, matched)| **matched).map(|(id, _)| *id)
    }

    /// Those that have a vote, or are to get one.
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
        let members = self.full_members().count();
        let started = self.started(self.full_members());
        // One member that runs may become two, although both must then run.
        let grows_from_one = members == 1 && started == 1;
        if !is_learner && !grows_from_one && started < quorum(members + 1) {
            return Err(Refusal::NotEnoughStarted);
        }
        if members > 1 && self.healthy() < quorum(members + 1) {
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
        // Members that still wait for their vote do not help those that are left to decide.
        let votes = self.voters.iter().filter(|voter| **voter != id);
        let answering = votes.clone().filter(|id| answers(**id)).count();
        if self.voters.contains(&id) && answering < quorum(votes.count()) {
            return Err(Refusal::Unhealthy);
        }
        Ok(())
    }

    /// The learner itself runs: it has the log.
    fn check_promote(&self) -> Result<(), Refusal> {
        let members = self.full_members().count();
        match self.started(self.full_members()) + 1 < quorum(members + 1) {
            true => Err(Refusal::NotEnoughStarted),
            false => Ok(()),
        }
    }

    fn check_urls(&self, urls: &[String], of: Option<u64>) -> Result<(), Refusal> {
        let others = self.peers.iter().filter(|(id, _)| Some(**id) != of);
        let used: BTreeSet<&String> = others.flat_map(|(_, peer)| &peer.peer_urls).collect();
        match urls.iter().any(|url| used.contains(url)) {
            true => Err(Refusal::UrlExists),
            false => Ok(()),
        }
    }
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

/// Why a promotion was refused, in the words that etcd's metric has for it.
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
