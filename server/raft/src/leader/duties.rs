//! What a member does without being asked.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::{Command, LeaseExpire};

use super::lessor::Lessor;
use crate::disk::flusher::Flusher;
use crate::ground::consensus::Consensus;
use crate::metrics::Metrics;

/// Pause before a log that is too long is trimmed again.
const TRIM_AGAIN: Duration = Duration::from_secs(2);
/// How long a snapshot that was received in part is kept: longer than its sender tries to go on.
const HALF_KEPT: Duration = Duration::from_secs(120);
/// Pause after a proposal that failed, so that a member without a leader does not spin.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What the duties are done with.
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
    /// Watches over leases while this member leads.
    pub(crate) async fn follow_leadership(&self) {
        let mut status = self.consensus.status();
        let (mut leader, mut term) = (None, 0);
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

    /// Ends leases whose time is over.
    pub(crate) async fn expire_leases(&self) {
        loop {
            let (term, ids) = self.lessor.expired().await;
            self.metrics.lease_expired.inc_by(ids.len() as u64);
            let command = Command::LeaseExpire(LeaseExpire { ids });
            // Only by the leader who found it: with a later one the leases have more time.
            if let Err(error) = self.consensus.propose_in(term, command.encode()).await {
                tracing::warn!(%error, "expired leases are not ended yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Lets the log forget what the database contains, after each flush.
    pub(crate) async fn trim_log(&self) {
        loop {
            let flushed = self.flusher.flushed();
            tokio::pin!(flushed);
            // Before the work: a flush that ends meanwhile must not be missed.
            flushed.as_mut().enable();
            let beyond = self.flusher.wal().last_beyond(self.flusher.log_kept());
            let is_long = matches!(beyond, Ok(Some(_)));
            match beyond {
                // Whoever is being sent a snapshot needs what follows it.
                Ok(None) if self.metrics.peers.is_sending() => {}
                Ok(beyond) => self.consensus.trim_log(beyond).await,
                Err(error) => tracing::warn!(%error, "cannot tell how long the log is"),
            }
            // openraft forgets what it knew to be in the database when it was told the last time;
            // nobody may write any more who would have it told again.
            let again = if is_long { TRIM_AGAIN } else { Duration::MAX };
            tokio::time::timeout(again, flushed).await.ok();
        }
    }

    /// Drops snapshots that nobody goes on sending.
    pub(crate) async fn drop_halves(&self) {
        loop {
            tokio::time::sleep(HALF_KEPT / 2).await;
            let flusher = self.flusher.clone();
            // It may remove a large file, which blocks.
            let drop_old = move || flusher.engine().stop_receiving(HALF_KEPT);
            tokio::task::spawn_blocking(drop_old).await.ok();
        }
    }

    /// Flushes what nobody flushed for long.
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
