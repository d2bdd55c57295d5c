//! Background tasks of a member.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Command, LeaseExpire};

use super::lessor::Lessor;
use crate::disk::flusher::Flusher;
use crate::ground::consensus::Consensus;
use crate::metrics::Metrics;

/// Pause before a log that is still too long is trimmed again.
const TRIM_AGAIN: Duration = Duration::from_secs(2);
/// How long a partial snapshot is kept without progress: longer than its sender retries.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(120);
/// Pause after a failed proposal, so that a member without a leader does not spin.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The parts that the tasks work with.
pub(crate) struct Duties {
    pub(crate) member_id: u64,
    pub(crate) consensus: Arc<dyn Consensus>,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) flusher: Flusher,
    pub(crate) metrics: Arc<Metrics>,
    /// Time that a new leader adds to every lease.
    pub(crate) lease_extension: Duration,
}

impl Duties {
    /// Runs the clock of the leases while this member leads, and logs changes of the leader.
    pub(crate) async fn follow_leadership(&self) {
        let mut status = self.consensus.status();
        let mut leader = None;
        let mut term = 0;
        loop {
            let now = *status.borrow_and_update();
            if (now.leader, now.term) != (leader, term) {
                match now.leader {
                    Some(leader) if leader == self.member_id => {
                        self.lessor.promote(now.term, self.lease_extension);
                    }
                    Some(_) => self.lessor.demote(),
                    None => self.lessor.suspend(now.term),
                }
                if let Some(new) = now.leader {
                    self.metrics.leader_changes.inc();
                    tracing::info!(leader = format!("{new:x}"), term = now.term, "leader elected");
                } else {
                    tracing::warn!(term = now.term, "no leader");
                }
                (leader, term) = (now.leader, now.term);
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    }

    /// Proposes the end of expired leases.
    pub(crate) async fn expire_leases(&self) {
        loop {
            let (term, ids) = self.lessor.expired().await;
            self.metrics.lease_expired.inc_by(ids.len() as u64);
            let command = Command::LeaseExpire(LeaseExpire { ids });
            // Only in the term in which they expired: a later leader has extended the leases.
            if let Err(error) = self.consensus.propose_in(term, command.encode()).await {
                tracing::warn!(%error, "cannot end expired leases yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Purges log entries that the database contains, after each flush.
    pub(crate) async fn trim_log(&self) {
        loop {
            let flushed = self.flusher.flushed();
            tokio::pin!(flushed);
            // The wait begins before the work, so that it does not miss a flush that ends during
            // the work.
            flushed.as_mut().enable();
            let beyond = self.flusher.wal().last_beyond(self.flusher.log_kept());
            let is_long = matches!(beyond, Ok(Some(_)));
            match beyond {
                // The receiver of a snapshot needs the entries that follow it.
                Ok(None) if self.metrics.peers.is_sending() => {}
                Ok(beyond) => self.consensus.trim_log(beyond).await,
                Err(error) => tracing::warn!(%error, "cannot determine the length of the log"),
            }
            // A purge reaches only the snapshot that openraft knew at the previous trim. Without
            // further writes, no flush would start another trim.
            let again = if is_long { TRIM_AGAIN } else { Duration::MAX };
            tokio::time::timeout(again, flushed).await.ok();
        }
    }

    /// Drops partial snapshots whose sender has given up.
    pub(crate) async fn drop_partial_snapshots(&self) {
        loop {
            tokio::time::sleep(PARTIAL_AGE_MAX / 2).await;
            let flusher = self.flusher.clone();
            // This may block while it removes a large file.
            let drop_old = move || flusher.engine().stop_receiving(PARTIAL_AGE_MAX);
            tokio::task::spawn_blocking(drop_old).await.ok();
        }
    }

    /// Flushes whenever the last flush was too long ago.
    pub(crate) async fn flush_old(&self) {
        loop {
            let flushed = self.flusher.flushed();
            let age = self.flusher.options().age_max;
            if tokio::time::timeout(age, flushed).await.is_err() {
                self.consensus.flush().await;
            }
        }
    }
}
