//! The leader as clients see it.
//!
//! In openraft, a leader that reaches no other member still counts itself as leader, and followers
//! keep following a lost leader until they elect another one. Clients see neither: a leader without
//! a quorum does not lead, and a leader that was silent for an election timeout is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use tokio::sync::watch;
use tokio::time::Instant;

use super::activity::Activity;
use super::leader_contact::LeaderContact;
use super::state_machine::StateMachine;
use crate::ground::consensus::RaftStatus;
use crate::ground::member::Peers;
use crate::log::members::peers_of;
use crate::log::types::TypeConfig;

/// The leader that openraft names, with the times that decide whether clients see it.
#[derive(Clone, Copy, Debug)]
enum KnownLeader {
    /// openraft names no leader.
    Nothing,
    /// Another member leads, and was last heard `silence` ago.
    Other { leader: u64, silence: Duration },
    /// This member leads. A quorum last answered `since_quorum` ago, if ever.
    Me { leader: u64, since_quorum: Option<Duration>, is_alone: bool },
}

impl KnownLeader {
    /// The leader that clients see.
    fn visible(self, election_timeout: Duration) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Other { leader, silence } => (silence < election_timeout).then_some(leader),
            Self::Me { leader, since_quorum, is_alone } => {
                let is_confirmed = since_quorum.is_some_and(|time| time < election_timeout);
                (is_confirmed || is_alone).then_some(leader)
            }
        }
    }
}

/// Publishes openraft's metrics as a status until the raft stops.
pub(crate) struct StatusPublisher {
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) leader_contact: Arc<LeaderContact>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) heartbeat: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) status: watch::Sender<RaftStatus>,
    pub(crate) peers: watch::Sender<Peers>,
}

impl StatusPublisher {
    /// Publishes changes until the raft stops.
    pub(crate) async fn run(self) {
        // These metrics change only with the leader and the membership, not with every entry.
        let mut changes = self.raft.server_metrics();
        let mut ticks = tokio::time::interval(self.heartbeat);
        let mut known = None;
        loop {
            {
                let metrics = changes.borrow_watched();
                let membership = &metrics.membership_config;
                if known != *membership.log_id() {
                    known = *membership.log_id();
                    self.peers.send_replace(peers_of(membership));
                }
            }
            let now = self.now();
            if let Some(leader) = now.leader {
                self.leader_contact.history.seen(leader, now.term, Instant::now());
            }
            self.status.send_if_modified(|old| std::mem::replace(old, now) != now);
            if now.leader.is_none() {
                self.leader_contact.history.unseen(Instant::now());
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = ticks.tick() => {}
            }
        }
    }

    fn now(&self) -> RaftStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let term = metrics.vote.leader_id.term;
        let voters = metrics.membership_config.membership().voter_ids().count();
        let known = match metrics.current_leader {
            None => KnownLeader::Nothing,
            Some(leader) if leader != metrics.id => {
                KnownLeader::Other { leader, silence: self.leader_contact.silence(Instant::now()) }
            }
            Some(leader) => {
                self.note_activity(metrics.id, term, metrics.heartbeat.as_ref());
                let since_quorum = metrics.last_quorum_acked.as_ref().map(|at| at.elapsed());
                KnownLeader::Me { leader, since_quorum, is_alone: voters == 1 }
            }
        };
        RaftStatus { term, leader: known.visible(self.election_timeout) }
    }

    fn note_activity(
        &self,
        me: u64,
        term: u64,
        heartbeats: Option<&BTreeMap<u64, Option<openraft::alias::SerdeInstantOf<TypeConfig>>>>,
    ) {
        // The leader's answers to itself do not count.
        let others = heartbeats.into_iter().flatten().filter(|(id, _)| **id != me);
        let answering = others.map(|(id, acked)| {
            let answers = acked.as_ref().is_some_and(|at| at.elapsed() < self.election_timeout);
            (*id, answers)
        });
        let answering = answering.collect();
        self.activity.note(term, &answering, self.election_timeout, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_leader_and_one_without_a_quorum_are_invisible() {
        let timeout = Duration::from_millis(1000);
        let millis = Duration::from_millis;
        let other = |silence| KnownLeader::Other { leader: 2, silence };
        let me = |since_quorum, is_alone| KnownLeader::Me { leader: 1, since_quorum, is_alone };
        for (known, visible) in [
            (KnownLeader::Nothing, None),
            (other(millis(0)), Some(2)),
            (other(millis(999)), Some(2)),
            (other(timeout), None),
            (other(Duration::MAX), None),
            (me(Some(millis(999)), false), Some(1)),
            (me(Some(timeout), false), None),
            (me(None, false), None),
            (me(None, true), Some(1)),
            (me(Some(timeout), true), Some(1)),
        ] {
            assert_eq!(known.visible(timeout), visible, "{known:?}");
        }
    }
}
