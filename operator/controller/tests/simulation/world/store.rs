//! The members of one store, with the rules of the real store: which members vote, which one leads,
//! and which changes are refused.

use std::collections::{BTreeMap, BTreeSet};

use quorate_controller::members::{Error, Request};

/// The length of the leader's log.
pub(crate) const LOG: u64 = 100;
/// The part of it that a new member receives in one tick.
const RECEIVED: u64 = 40;
/// The part of the log that a learner needs for its promotion.
const READY: u64 = 90;
/// For how many ticks a member runs before others count on it.
const SETTLED: u32 = 2;

/// A member, as the store knows it.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Peer {
    /// Its name; empty until it has started.
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) is_learner: bool,
    /// Whether it votes. One that has been promoted may still wait for its vote.
    pub(crate) votes: bool,
    /// The volume that it started on first.
    pub(crate) volume: String,
    /// How much of the log it has.
    pub(crate) matched: u64,
    /// For how many ticks it has been running, up to [`SETTLED`]; 0 if it does not run.
    pub(crate) active: u32,
}

/// A store. It has no members until it is founded.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Store {
    /// The id of its cluster; 0 until it is founded.
    pub(crate) cluster: u64,
    pub(crate) members: BTreeMap<u64, Peer>,
    /// The ids of members that were removed.
    pub(crate) removed: BTreeSet<u64>,
    /// The number of changes so far.
    pub(crate) configuration: u64,
    pub(crate) term: u64,
    /// The id of the leader; 0 if there is none.
    pub(crate) leader: u64,
    ids: u64,
    /// Whether it takes a change that expects another configuration, which is a mistake.
    pub(crate) is_unfenced: bool,
}

impl Store {
    /// Founds a new store with one member. Returns its id.
    pub(crate) fn found(&mut self, name: &str, url: &str, volume: &str) -> u64 {
        self.members.clear();
        self.cluster += 1;
        let peer = Peer {
            name: name.to_owned(),
            url: url.to_owned(),
            votes: true,
            volume: volume.to_owned(),
            matched: LOG,
            ..Peer::default()
        };
        self.add(peer)
    }

    /// Adds a member. Returns its id.
    pub(crate) fn add(&mut self, peer: Peer) -> u64 {
        self.ids += 1;
        self.configuration += 1;
        self.members.insert(self.ids, peer);
        self.ids
    }

    /// The ids of the members that vote.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.members.iter().filter(|(_, peer)| peer.votes).map(|(id, _)| *id).collect()
    }

    /// How many members vote and run.
    pub(crate) fn active_voters(&self) -> usize {
        self.members.values().filter(|peer| peer.votes && peer.active > 0).count()
    }

    /// Whether enough voters run.
    pub(crate) fn has_quorum(&self) -> bool {
        self.active_voters() >= quorum(self.voters().len())
    }

    /// Lets time pass, while the members `running` run.
    pub(crate) fn tick(&mut self, running: &BTreeSet<u64>) {
        for (id, peer) in &mut self.members {
            peer.active = if running.contains(id) { SETTLED.min(peer.active + 1) } else { 0 };
        }
        let leads = self.members.get(&self.leader).is_some_and(|it| it.votes && it.active > 0);
        if !leads || !self.has_quorum() {
            self.leader = 0;
        }
        if self.leader == 0 && self.has_quorum() {
            let up = self.members.iter().filter(|(_, peer)| peer.votes && peer.active == SETTLED);
            if let Some((id, _)) = up.max_by_key(|(id, _)| **id) {
                self.leader = *id;
                self.term += 1;
            }
        }
        if self.leader == 0 {
            return;
        }
        for peer in self.members.values_mut().filter(|peer| peer.active > 0) {
            peer.matched = LOG.min(peer.matched + RECEIVED);
            if !peer.is_learner && !peer.votes && peer.matched == LOG {
                peer.votes = true;
                self.configuration += 1;
            }
        }
    }

    /// Makes a change, as the member `at` is asked for it.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub(crate) fn change(&mut self, at: u64, request: &Request) -> Result<(), Error> {
        if self.leader == 0 {
            return not_yet("no leader");
        }
        match request {
            Request::AddLearner { peer_url, configuration } => {
                self.expect(*configuration)?;
                self.add_learner(peer_url)
            }
            Request::Promote { id, configuration } => {
                self.expect(*configuration)?;
                self.promote(*id)
            }
            Request::Remove { id, configuration } => {
                self.expect(*configuration)?;
                self.remove(*id)
            }
            Request::MoveLeader { to } => self.move_leader(at, *to),
        }
    }

    fn expect(&self, configuration: u64) -> Result<(), Error> {
        if self.configuration == configuration || self.is_unfenced {
            Ok(())
        } else {
            not_yet("the configuration has moved on")
        }
    }

    fn add_learner(&mut self, url: &str) -> Result<(), Error> {
        if self.members.values().any(|peer| peer.url == url) {
            return refused("the peer URL exists");
        }
        if self.members.values().any(|peer| peer.is_learner) {
            return refused("too many learners");
        }
        self.add(Peer { url: url.to_owned(), is_learner: true, ..Peer::default() });
        Ok(())
    }

    fn promote(&mut self, id: u64) -> Result<(), Error> {
        let started = self.full_started();
        let count = self.members.values().filter(|peer| !peer.is_learner).count();
        let Some(peer) = self.members.get_mut(&id) else { return refused("not found") };
        if !peer.is_learner {
            return refused("not a learner");
        }
        if peer.matched * 100 < LOG * READY {
            return not_yet("the learner is not ready");
        }
        if started + 1 < quorum(count + 1) {
            return refused("not enough started members");
        }
        peer.is_learner = false;
        self.configuration += 1;
        Ok(())
    }

    fn remove(&mut self, id: u64) -> Result<(), Error> {
        let Some(peer) = self.members.get(&id) else { return refused("not found") };
        if !peer.is_learner {
            let left = self.members.iter().filter(|(it, peer)| **it != id && !peer.is_learner);
            let left: Vec<&Peer> = left.map(|(_, peer)| peer).collect();
            let started = left.iter().filter(|peer| !peer.name.is_empty()).count();
            if started < quorum(left.len()) {
                return refused("not enough started members");
            }
            let healthy = left.iter().filter(|peer| peer.active == SETTLED).count();
            if peer.active > 0 && healthy < quorum(left.len()) {
                return not_yet("unhealthy cluster");
            }
            let votes: Vec<&&Peer> = left.iter().filter(|peer| peer.votes).collect();
            let answering = votes.iter().filter(|peer| peer.active > 0).count();
            if peer.votes && answering < quorum(votes.len()) {
                return not_yet("unhealthy cluster");
            }
        }
        self.drop_member(id);
        Ok(())
    }

    /// Removes a member against all rules.
    pub(crate) fn drop_member(&mut self, id: u64) {
        self.members.remove(&id);
        self.removed.insert(id);
        self.configuration += 1;
        if self.leader == id {
            self.leader = 0;
        }
    }

    fn move_leader(&mut self, at: u64, to: u64) -> Result<(), Error> {
        if at != self.leader {
            return not_yet("not the leader");
        }
        if !self.members.get(&to).is_some_and(|peer| peer.votes && peer.active > 0) {
            return refused("not a voter that runs");
        }
        self.leader = to;
        self.term += 1;
        Ok(())
    }

    fn full_started(&self) -> usize {
        let full = self.members.values().filter(|peer| !peer.is_learner);
        full.filter(|peer| !peer.name.is_empty()).count()
    }
}

/// How many of these voters must agree.
pub(crate) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

fn refused<T>(why: &str) -> Result<T, Error> {
    Err(Error::Refused(why.to_owned()))
}

fn not_yet<T>(why: &str) -> Result<T, Error> {
    Err(Error::NotYet(why.to_owned()))
}
