//! Linearizable reads: one confirmation of leadership for all waiting reads.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ground::consensus::{Consensus, Unavailable};
use crate::ground::exclusion::Notice;
use crate::ground::progress::Progress;
use crate::ground::request::RequestError;
use crate::metrics::mark::Mark;

/// Pause before the next attempt while there is no leader.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of reads that wait for the next round; more are refused.
const READS_MAX: usize = 64 << 10;
/// Interval at which abandoned reads are dropped during a long round.
const SWEEP: Duration = Duration::from_millis(200);

type Readers = Vec<oneshot::Sender<()>>;

/// Makes reads wait until the state machine has applied everything that was acknowledged before
/// them. Reads that arrive during a round wait for the next: a round answers only reads that
/// arrived before it began.
pub(crate) struct ReadBarrier {
    /// `None` once the member has stopped.
    waiting: Mutex<Option<Readers>>,
    arrived: Notify,
    /// When a round last answered its reads.
    ended: Mark,
}

impl ReadBarrier {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Some(Vec::new())), arrived: Notify::new(), ended: Mark::new() }
    }

    /// Waits until a read is linearizable.
    ///
    /// # Errors
    /// `Stopped`, or `TooManyRequests` if too many reads wait.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn pass(&self) -> Result<(), RequestError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.as_mut().ok_or(RequestError::Stopped)?;
            if waiting.len() >= READS_MAX {
                return Err(RequestError::TooManyRequests);
            }
            waiting.push(sender);
        }
        self.arrived.notify_one();
        receiver.await.map_err(|_| RequestError::Stopped)
    }

    /// When reads were last answered.
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
                let mut waiting =
                    self.waiting.lock().as_mut().map(std::mem::take).unwrap_or_default();
                if waiting.is_empty() {
                    continue;
                }
                // Unanswered reads fail with `Stopped`.
                let is_passed = tokio::select! {
                    is_passed = self.round(&*consensus, &progress) => is_passed,
                    // An excluded member applies no new entries.
                    _ = notice.posted() => false,
                    () = self.sweep(&mut waiting) => false,
                };
                if !is_passed {
                    continue;
                }
                self.ended.set();
                for reader in waiting {
                    // It is no error if the reader has stopped waiting.
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

    /// Never returns. Drops abandoned reads at intervals: without a quorum a round does not end,
    /// while clients give up and retry.
    async fn sweep(&self, begun: &mut Readers) {
        loop {
            tokio::time::sleep(SWEEP).await;
            begun.retain(|reader| !reader.is_closed());
            if let Some(waiting) = self.waiting.lock().as_mut() {
                waiting.retain(|reader| !reader.is_closed());
            }
        }
    }

    /// Confirms leadership once; false if the member has stopped. Each attempt gets a new read
    /// index, which covers everything acknowledged before the attempt.
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::watch;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::ground::consensus::{Answer, BoxFuture, Holding, RaftStatus};

    /// A member without a leader.
    struct Alone;

    impl Consensus for Alone {
        fn propose(&self, _: Bytes, _: Holding) -> BoxFuture<'_, Result<Answer, Unavailable>> {
            Box::pin(std::future::pending())
        }

        fn propose_in(&self, _: u64, _: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>> {
            Box::pin(std::future::pending())
        }

        fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>> {
            Box::pin(std::future::ready(Err(Unavailable::NotLeader { leader: None })))
        }

        fn status_now(&self) -> RaftStatus {
            RaftStatus::default()
        }

        fn status(&self) -> watch::Receiver<RaftStatus> {
            watch::channel(RaftStatus::default()).1
        }

        fn committed(&self) -> u64 {
            0
        }

        fn flush(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn trim_log(&self, _: Option<u64>) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }

        fn shutdown(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_reads_are_dropped_and_waiting_reads_are_limited() {
        let barrier = Arc::new(ReadBarrier::new());
        let stop = CancellationToken::new();
        let runs = barrier.clone();
        let stops = stop.clone();
        let tasks = TaskTracker::new();
        let running = tasks.spawn(async move {
            runs.run(Arc::new(Alone), Progress::new(0), Notice::new(), stops).await;
        });
        let queued = || barrier.waiting.lock().as_ref().map_or(0, Vec::len);
        let pass = || {
            let barrier = barrier.clone();
            tasks.spawn(async move { barrier.pass().await })
        };
        // The first read is in the round that does not end.
        let mut reads = vec![pass()];
        tokio::time::sleep(RETRY_PAUSE).await;
        assert_eq!(queued(), 0);
        reads.extend((0..READS_MAX).map(|_| pass()));
        tokio::time::sleep(RETRY_PAUSE).await;
        assert_eq!(queued(), READS_MAX);
        assert_eq!(barrier.pass().await, Err(RequestError::TooManyRequests));
        let last = reads.split_off(READS_MAX);
        reads.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::sleep(2 * SWEEP).await;
        assert_eq!(queued(), 1, "one still waits");
        stop.cancel();
        running.await.unwrap();
        for read in last {
            assert_eq!(read.await.unwrap(), Err(RequestError::Stopped));
        }
    }
}
