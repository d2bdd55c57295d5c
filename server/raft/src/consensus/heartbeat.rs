//! The leader's heartbeats.

use std::fmt::Debug;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use quorate_core::planted::{self, Mistake};
use tokio::sync::watch;

use super::state_machine::StateMachine;
use crate::log::types::TypeConfig;
use crate::network::flow::Flow;

/// Sending time of the last heartbeat that a quorum acknowledged.
type Acked = openraft::alias::SerdeInstantOf<TypeConfig>;

/// Periods in numbers of heartbeats.
#[derive(Clone, Copy, Debug)]
struct Periods {
    /// Unanswered heartbeats before the leader falls silent.
    patience: u32,
    /// Heartbeats that the leader then holds back. After that, the leader sends the same number of
    /// heartbeats, holds back the same number again, and so on.
    silence: u32,
}

impl Periods {
    /// Patience is half an election timeout: that is how long followers rely on a leader. Silence
    /// is three such halves: after the first, followers rely on no leader; after the second, they
    /// start an election.
    fn new(election_timeout: Duration, interval: Duration) -> Self {
        let half = (election_timeout / 2).as_millis().div_ceil(interval.as_millis().max(1));
        let half = u32::try_from(half).unwrap_or(u32::MAX / 4).max(1);
        Self { patience: half, silence: 3 * half }
    }
}

/// Counts the heartbeats without an answer from a quorum.
#[derive(Debug, Default)]
struct Unanswered {
    /// The last answered heartbeat; `None` for a new leader.
    acked: Option<Acked>,
    /// Heartbeats sent or held back since.
    count: u32,
}

impl Unanswered {
    /// Counts the next heartbeat and returns whether to hold it back.
    ///
    /// Heartbeats are counted, and not time: while the process is paused, nothing is counted.
    fn holds(&mut self, acked: Option<&Acked>, periods: Periods) -> bool {
        if self.acked.as_ref() != acked {
            *self = Self { acked: acked.copied(), count: 0 };
        }
        self.count += 1;
        // Followers of a new leader first write their vote for it to disk.
        let patience = if acked.is_some() { periods.patience } else { 2 * periods.patience };
        let beyond = self.count.checked_sub(patience + 1);
        beyond.is_some_and(|beyond| (beyond / periods.silence).is_multiple_of(2))
    }
}

/// Sends the leader's heartbeats until the raft stops. openraft's own timer is not used: its
/// interval is also the timeout of a reply, and a reply may take longer than one heartbeat
/// interval.
///
/// A leader that no quorum answers is silent for a while. Members that heard this leader until then
/// can elect another leader, together with members that did not hear it. Entries assert the
/// leadership too, so `flow` tells the streams to hold back the entries as well. openraft can hold
/// back heartbeats only by time; then every leader that was paused for half an election timeout
/// would lose its leadership.
pub(crate) async fn send_heartbeats(
    raft: Raft<TypeConfig, StateMachine>,
    election_timeout: Duration,
    interval: Duration,
    flow: &watch::Sender<Flow>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let periods = Periods::new(election_timeout, interval);
    let mut unanswered = Unanswered::default();
    loop {
        ticks.tick().await;
        let (leads, is_silent) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let leads = metrics.current_leader == Some(metrics.id);
            if !leads || metrics.membership_config.membership().voter_ids().eq([metrics.id]) {
                unanswered = Unanswered::default();
                (leads, false)
            } else {
                let holds = unanswered.holds(metrics.last_quorum_acked.as_ref(), periods);
                (leads, holds && !planted::has(Mistake::BeatAlone))
            }
        };
        flow.send_if_modified(|flow| {
            std::mem::replace(&mut flow.is_silent, is_silent) != is_silent
        });
        if leads && !is_silent && raft.trigger().heartbeat().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_quorum_sends_and_pauses_in_turn() {
        let periods = Periods::new(Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!((periods.patience, periods.silence), (5, 15));
        let mut unanswered = Unanswered::default();
        let mut held = |count| (0..count).filter(|_| unanswered.holds(None, periods)).count();
        assert_eq!((held(10), held(15), held(15), held(15)), (0, 15, 0, 15));
    }
}
