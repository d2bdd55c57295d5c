//! Automatic compaction by time or by number of revisions, on etcd's schedule.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::store::Shared;
use quorate_core::{Command, Refusal};
use quorate_proto::etcdserverpb::CompactionRequest;
use tokio::time::Instant;

use crate::ground::consensus::{Consensus, Holding};

/// Interval of checks for a retention by number of revisions.
const REVISIONS_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// The longest interval between compactions for a retention by time.
const PERIODIC_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Samples of the revision per interval.
const SAMPLES_PER_INTERVAL: u32 = 10;

/// The history to keep; older history is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// History of this duration.
    Periodic(Duration),
    /// This many revisions.
    Revisions(i64),
}

/// Decides when to compact, and at which revision.
#[derive(Debug)]
struct Schedule {
    kept: AutoCompaction,
    /// The revisions at the last pauses; the oldest sample is as old as the history to keep.
    samples: VecDeque<i64>,
    last_revision: i64,
    last_success: Instant,
    is_first: bool,
}

impl Schedule {
    fn new(kept: AutoCompaction, now: Instant) -> Self {
        let samples = VecDeque::new();
        Self { kept, samples, last_revision: 0, last_success: now, is_first: true }
    }

    /// Interval between compactions for a retention by time.
    fn interval(period: Duration) -> Duration {
        period.min(PERIODIC_INTERVAL_MAX)
    }

    /// Time to wait between [`Self::sample`] and [`Self::due`].
    fn pause(&self) -> Duration {
        match self.kept {
            AutoCompaction::Periodic(period) => Self::interval(period) / SAMPLES_PER_INTERVAL,
            AutoCompaction::Revisions(_) => REVISIONS_INTERVAL,
        }
    }

    /// Records the current revision. Call it at the beginning of a pause.
    fn sample(&mut self, current: i64) {
        if let AutoCompaction::Periodic(period) = self.kept {
            self.samples.push_back(current);
            let pauses = period.as_nanos() / self.pause().as_nanos().max(1);
            if self.samples.len() as u128 > pauses + 1 {
                self.samples.pop_front();
            }
        }
    }

    /// The revision at which to compact now, if any. Call it at the end of a pause.
    fn due(&self, current: i64, now: Instant) -> Option<i64> {
        let revision = match self.kept {
            AutoCompaction::Revisions(kept) => current - kept,
            AutoCompaction::Periodic(period) => {
                let wait = if self.is_first { period } else { Self::interval(period) };
                if now - self.last_success < wait {
                    return None;
                }
                *self.samples.front()?
            }
        };
        (revision > 0 && revision != self.last_revision).then_some(revision)
    }

    /// Records that history up to `revision` is compacted.
    fn done(&mut self, revision: i64, now: Instant) {
        (self.last_revision, self.last_success, self.is_first) = (revision, now, false);
    }
}

/// Compacts while this member leads.
pub(crate) struct Compactor {
    member_id: u64,
    consensus: Arc<dyn Consensus>,
    store: Arc<Shared>,
    schedule: Schedule,
}

impl Compactor {
    pub(crate) fn new(
        member_id: u64,
        consensus: Arc<dyn Consensus>,
        store: Arc<Shared>,
        kept: AutoCompaction,
    ) -> Self {
        Self { member_id, consensus, store, schedule: Schedule::new(kept, Instant::now()) }
    }

    pub(crate) async fn run(mut self) {
        loop {
            self.schedule.sample(self.store.revision());
            tokio::time::sleep(self.schedule.pause()).await;
            let leads = self.consensus.status_now().leader == Some(self.member_id);
            let due = self.schedule.due(self.store.revision(), Instant::now());
            if let Some(revision) = due.filter(|_| leads) {
                self.compact(revision).await;
            }
        }
    }

    async fn compact(&mut self, revision: i64) {
        let command = Command::Compact(CompactionRequest { revision, physical: false });
        let payload = command.encode_from(&self.store.cluster_origin());
        match self.consensus.propose(payload, Holding::default()).await {
            Ok(None | Some(Ok(_) | Err(Refusal::Compacted))) => {
                tracing::info!(revision, "compacted automatically");
                self.schedule.done(revision, Instant::now());
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(revision, %error, "cannot compact automatically");
            }
            Err(error) => tracing::warn!(revision, %error, "cannot compact automatically"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a schedule for a store that starts at revision 1 and gains one revision a minute.
    /// Returns the minute and the revision of each compaction.
    fn compactions(kept: AutoCompaction, minutes: u64) -> Vec<(u64, i64)> {
        let start = Instant::now();
        let mut schedule = Schedule::new(kept, start);
        let mut now = start;
        let mut found = Vec::new();
        let minute = |now: Instant| (now - start).as_secs() / 60;
        while minute(now) < minutes {
            schedule.sample(minute(now).cast_signed() + 1);
            now += schedule.pause();
            if let Some(revision) = schedule.due(minute(now).cast_signed() + 1, now) {
                found.push((minute(now), revision));
                schedule.done(revision, now);
            }
        }
        found
    }

    #[test]
    fn history_of_a_period_is_kept() {
        let hours = |hours: u64| AutoCompaction::Periodic(Duration::from_secs(3600 * hours));
        assert_eq!(compactions(hours(1), 190), [(60, 1), (120, 55), (180, 115)]);
        assert_eq!(compactions(hours(3), 310), [(180, 1), (240, 55), (300, 115)]);
        let short = AutoCompaction::Periodic(Duration::from_secs(600));
        assert_eq!(compactions(short, 30), [(10, 1), (20, 10), (30, 20)]);
    }

    #[test]
    fn a_number_of_revisions_is_kept() {
        let found = compactions(AutoCompaction::Revisions(7), 20);
        assert_eq!(found, [(10, 4), (15, 9), (20, 14)]);
    }
}
