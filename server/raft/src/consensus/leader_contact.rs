//! The time at which this member last heard from a leader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::leader_history::LeaderHistory;
use crate::log::types::Vote;

/// The leaders that this member has seen, and the time at which it last heard from a leader.
pub(crate) struct LeaderContact {
    pub(crate) history: LeaderHistory,
    start: Instant,
    /// Time of the last message from a leader, in milliseconds since `start`. `NEVER` until the
    /// first message: the leader that the log names may be gone.
    at: AtomicU64,
}

/// The value of `at` before the first message.
const NEVER: u64 = u64::MAX;

impl LeaderContact {
    /// A record without messages.
    pub(crate) fn new() -> Self {
        Self {
            history: LeaderHistory::new(Instant::now()),
            start: Instant::now(),
            at: AtomicU64::new(NEVER),
        }
    }

    /// Records a message from member `from`, if `vote` says that `from` is the leader.
    pub(crate) fn note(&self, from: u64, vote: &Vote) {
        if vote.committed && vote.leader_id.voted_for == from {
            self.at.store(millis(self.start.elapsed()), Ordering::Relaxed);
        }
    }

    /// Time from the last message of a leader until `now`.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        match self.at.load(Ordering::Relaxed) {
            NEVER => Duration::MAX,
            heard => (now - self.start).saturating_sub(Duration::from_millis(heard)),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
