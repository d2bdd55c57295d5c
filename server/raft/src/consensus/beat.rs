//! Heartbeats of this member while it leads.

use std::fmt::Debug;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use quorate_core::planted::{self, Mistake};
use tokio::sync::watch;

use super::state_machine::StateMachine;
use crate::log::types::TypeConfig;
use crate::network::flow::Flow;

/// When a heartbeat was sent that a quorum has answered.
type Acked = openraft::alias::SerdeInstantOf<TypeConfig>;

/// Numbers of heartbeats.
#[derive(Clone, Copy, Debug)]
struct Periods {
    /// So many without an answer are too many.
    patience: u32,
    /// So many are held back then, before as many are sent again.
    silence: u32,
}

impl Periods {
    /// Half an election timeout of patience, as that is how long followers rely on a leader; and of
    /// silence three halves, as after one they rely on nobody and after two they elect.
    fn new(election_timeout: Duration, interval: Duration) -> Self {
        let half = (election_timeout / 2).as_millis().div_ceil(interval.as_millis().max(1));
        let half = u32::try_from(half).unwrap_or(u32::MAX / 4).max(1);
        Self { patience: half, silence: 3 * half }
    }
}

/// Heartbeats of a leader that no quorum has answered.
#[derive(Debug, Default)]
struct Unanswered {
    /// The heartbeat that was answered last; none by a leader that is new.
    acked: Option<Acked>,
    /// Those sent, or held back, since.
    count: u32,
}

impl Unanswered {
    /// Takes the next heartbeat into account; whether it is to be held back.
    ///
    /// What counts is heartbeats and not time: whoever was paused begins to wait when it goes on.
    fn holds(&mut self, acked: Option<&Acked>, periods: Periods) -> bool {
        if self.acked.as_ref() != acked {
            *self = Self { acked: acked.copied(), count: 0 };
        }
        self.count += 1;
        // Those who follow a new leader write its name to their disks first.
        let patience = if acked.is_some() { periods.patience } else { 2 * periods.patience };
        let beyond = self.count.checked_sub(patience + 1);
        beyond.is_some_and(|beyond| (beyond / periods.silence).is_multiple_of(2))
    }
}

/// Has the leader send its heartbeats, until the raft stops: openraft sends them as rarely as it
/// gives up waiting for a reply, and a reply may take longer than the time between two.
///
/// A leader that no quorum answers is silent for a while, so that those who hear it can elect
/// another one together with those who do not. `flow` holds everything back that says that it
/// leads; openraft's own way to hold back heartbeats alone goes by time, and would cost the
/// leadership of each one that was paused for half an election timeout.
pub(crate) async fn beat(
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
    fn a_leader_that_nobody_answers_is_silent_by_turns() {
        let periods = Periods::new(Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!((periods.patience, periods.silence), (5, 15));
        let mut unanswered = Unanswered::default();
        let mut held = |count| (0..count).filter(|_| unanswered.holds(None, periods)).count();
        assert_eq!((held(10), held(15), held(15), held(15)), (0, 15, 0, 15));
    }
}
