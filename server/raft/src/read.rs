//! Linearizable reads: one confirmation of leadership for all reads that wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::consensus::{Consensus, Unavailable};
use crate::exclusion::Notice;
use crate::metrics::Mark;
use crate::progress::Progress;

/// How long to wait before asking again while nobody leads.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Lets reads wait until the state machine has everything that was acknowledged before them. Reads
/// that come while one round is under way wait for the next: a round answers only those that were
/// there when it began.
pub(crate) struct ReadBarrier {
    /// None when nobody is let through any more.
    waiting: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    arrived: Notify,
    /// When a round last ended.
    ended: Mark,
}

impl ReadBarrier {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())), arrived: Notify::new(), ended: Mark::new() }
    }

    /// Waits until a read is linearizable.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn pass(&self) -> Result<(), Unavailable> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().as_mut().ok_or(Unavailable::Stopped)?.push(sender);
        self.arrived.notify_one();
        receiver.await.map_err(|_| Unavailable::Stopped)
    }

    /// When the last read was let through.
    pub(crate) fn passed(&self) -> Instant {
        self.ended.get()
    }

    /// Answers reads until `stop`.
    pub(crate) async fn run(
        &self,
        consensus: Arc<dyn Consensus>,
        progress: Progress,
        notice: Notice,
        stop: CancellationToken,
    ) {
        let rounds = async {
            loop {
                self.arrived.notified().await;
                let waiting = self.waiting.lock().as_mut().map(std::mem::take).unwrap_or_default();
                if waiting.is_empty() {
                    continue;
                }
                // Without an answer they hear that the member has stopped.
                let is_passed = tokio::select! {
                    is_passed = self.round(&*consensus, &progress) => is_passed,
                    // What others decide from now on is not applied here.
                    _ = notice.posted() => false,
                };
                if !is_passed {
                    continue;
                }
                self.ended.set();
                for reader in waiting {
                    // A reader that went away is not missed.
                    reader.send(()).ok();
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
        *self.waiting.lock() = None;
    }

    /// One confirmation; false when the member has stopped. Each try asks afresh, so that nothing
    /// that was acknowledged meanwhile is missed.
    async fn round(&self, consensus: &dyn Consensus, progress: &Progress) -> bool {
        loop {
            match consensus.read_index().await {
                Ok(index) => {
                    progress.reach(index).await;
                    return true;
                }
                Err(Unavailable::Stopped) => return false,
                Err(Unavailable::NotLeader { .. } | Unavailable::LeaderChanged) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }
}
