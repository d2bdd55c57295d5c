//! The threads on which scans run.
//!
//! A write passes through several threads. If scans took all processors, the write would wait at
//! each thread for the end of a time slice. So only a few scans run at normal priority. A scan that
//! runs for longer than [`MOMENT`] steps back: it lowers the priority of its thread, and frees its
//! slot for the next scan. From then on, it is a long scan.
//!
//! Long scans leave one processor to others. Otherwise every write would share its processor with a
//! long scan, and could wait for the end of a time slice although the scan has a lower priority.
//! Long scans take turns, and those without a slot pause. So a new scan waits for the end of
//! another scan only if too many scans have begun, in all ([`BEGUN_TIMES`]) or on its connection.
//!
//! A thread without privileges cannot raise its priority again, so it ends after a long scan, and a
//! new thread replaces it.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Maximum number of short scans that run at once. On machines with fewer processors, it is the
/// number of processors, but at least [`RUNNING_MIN`]. The maximum of long scans is one less.
const RUNNING_MAX: usize = 8;
const RUNNING_MIN: usize = 2;
/// Maximum number of scans that have begun, including those that pause, as a multiple of the
/// maximum number of short scans. Each has a thread, and holds memory.
const BEGUN_TIMES: usize = 4;
/// Time that a scan runs at normal priority.
const MOMENT: Duration = Duration::from_millis(2);
/// Time that a long scan runs before it makes way for another one.
const TURN: Duration = Duration::from_millis(20);
/// The niceness of a long scan. Beside a busy thread of normal priority, the scan gets about a
/// tenth of a processor.
const NICENESS: i32 = 10;

/// A scan and the slots that it runs in.
struct Job {
    scan: Box<dyn FnOnce() + Send>,
    short: OwnedSemaphorePermit,
    /// Two slots for a begun scan: one from its connection's limit, one from the pool's limit.
    begun: [OwnedSemaphorePermit; 2],
}

/// Runs scans. A scan without a slot waits.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
    begun: Arc<Semaphore>,
    /// The slots of short scans, one for each thread that has not stepped back.
    short: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// The state that the threads share.
struct Threads {
    jobs: Mutex<mpsc::Receiver<Job>>,
    /// Number of threads that have stepped back and are not replaced yet.
    missing: AtomicUsize,
    /// The slots of long scans.
    long: Arc<Semaphore>,
    /// Number of scans that wait for a slot in `long`.
    paused: AtomicUsize,
    runtime: Handle,
}

/// Why a scan has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("the scan panicked")]
    Panicked,
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl Pool {
    /// Starts the threads. They end with the pool. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(RUNNING_MIN, usize::from);
        let count = processors.clamp(RUNNING_MIN, RUNNING_MAX);
        let (jobs, receiver) = mpsc::channel();
        let threads = Arc::new(Threads {
            jobs: Mutex::new(receiver),
            missing: AtomicUsize::new(count),
            long: Arc::new(Semaphore::new(count - 1)),
            paused: AtomicUsize::new(0),
            runtime: Handle::current(),
        });
        for _ in 0..count {
            threads.replace_one()?;
        }
        let begun = Arc::new(Semaphore::new(BEGUN_TIMES * count));
        Ok(Self { jobs, begun, short: Arc::new(Semaphore::new(count)), threads })
    }

    /// Runs a scan as soon as there is a slot for it. `of_connection` limits how many scans of the
    /// scan's connection have begun, so that no connection takes all slots of the pool.
    ///
    /// # Errors
    /// The scan panics, or the system cannot start a thread for it.
    ///
    /// # Cancel safety
    /// If the future is dropped, a running scan still runs to its end.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        of_connection: &Arc<Semaphore>,
        scan: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let begun = [slot(of_connection).await?, slot(&self.begun).await?];
        let short = slot(&self.short).await?;
        self.threads.replace_one()?;
        let (sender, receiver) = oneshot::channel();
        let scan = Box::new(move || {
            // The future may be dropped by now.
            sender.send(catch_unwind(AssertUnwindSafe(scan))).ok();
        });
        self.jobs.send(Job { scan, short, begun }).map_err(|_| Failed::Panicked)?;
        receiver.await.ok().and_then(Result::ok).ok_or(Failed::Panicked)
    }
}

async fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failed> {
    slots.clone().acquire_owned().await.map_err(|_| Failed::Panicked)
}

impl Threads {
    /// Replaces one thread that has stepped back, if there is one. Such a thread cannot start its
    /// replacement: a new thread inherits the priority of the thread that starts it.
    fn replace_one(self: &Arc<Self>) -> io::Result<()> {
        let less = |missing: usize| missing.checked_sub(1);
        if self.missing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err() {
            return Ok(());
        }
        let threads = self.clone();
        let thread = std::thread::Builder::new().name("scan".to_owned());
        match thread.spawn(move || threads.work()) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.missing.fetch_add(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }

    fn work(self: &Arc<Self>) {
        loop {
            let job = self.jobs.lock().recv();
            let Ok(Job { scan, short, begun }) = job else { return };
            RUN.set(Some(Run {
                threads: self.clone(),
                started: Instant::now(),
                slot: Some(short),
                is_long: false,
            }));
            scan();
            let is_long = RUN.take().is_some_and(|run| run.is_long);
            drop(begun);
            if is_long {
                return;
            }
        }
    }
}

/// The scan that runs on a thread of the pool.
struct Run {
    threads: Arc<Threads>,
    /// Start of the scan; once it is long, start of its turn.
    started: Instant,
    /// A slot of the short scans. Once the scan is long, a slot of the long scans, or `None` if the
    /// client is gone.
    slot: Option<OwnedSemaphorePermit>,
    is_long: bool,
}

impl Run {
    /// Makes way for other scans if the time of this one is over. Returns when this one may
    /// continue, or when its client is gone.
    fn make_way(self, gone: &Notify) -> Self {
        let elapsed = self.started.elapsed();
        if !self.is_long && elapsed > MOMENT {
            self.step_back(gone)
        } else if self.is_long && elapsed > TURN && self.threads.is_awaited() {
            self.pause(gone)
        } else {
            self
        }
    }

    /// Lowers the priority of this thread for good, and gives the slot of the short scans back. The
    /// next scan starts a thread that replaces this one.
    fn step_back(self, gone: &Notify) -> Self {
        // On Linux this is the niceness of the thread alone.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "cannot lower the priority of a long scan");
        }
        self.threads.missing.fetch_add(1, Ordering::SeqCst);
        self.pause(gone)
    }

    /// Gives the slot back, and waits for a slot of the long scans. Stops waiting when the client
    /// is gone.
    fn pause(self, gone: &Notify) -> Self {
        let Self { threads, slot, .. } = self;
        drop(slot);
        threads.paused.fetch_add(1, Ordering::SeqCst);
        let slot = threads.runtime.block_on(async {
            tokio::select! {
                slot = threads.long.clone().acquire_owned() => slot.ok(),
                () = gone.notified() => None,
            }
        });
        threads.paused.fetch_sub(1, Ordering::SeqCst);
        Self { threads, started: Instant::now(), slot, is_long: true }
    }
}

impl Threads {
    /// Whether a long scan waits for its turn.
    fn is_awaited(&self) -> bool {
        self.paused.load(Ordering::Relaxed) > 0
    }
}

thread_local! {
    /// The scan of this thread; `None` outside the pool.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Makes way for other scans if the scan of this thread has run for long. Returns when it may
/// continue, or when its client is `gone`. Has no effect outside the pool.
pub(super) fn make_way(gone: &Notify) {
    if let Some(run) = RUN.take() {
        RUN.set(Some(run.make_way(gone)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(1))
    }

    /// Runs until the scan is long, and then as long as `goes_on` returns true.
    fn run_for_long(goes_on: impl Fn() -> bool) {
        let begun = Instant::now();
        let gone = Notify::new();
        while begun.elapsed() < 2 * MOMENT || goes_on() {
            make_way(&gone);
            std::thread::yield_now();
        }
        // If the thread was suspended in the loop, only this call notices that the scan is long.
        make_way(&gone);
    }

    #[tokio::test]
    async fn threads_outlive_scans_that_panic() {
        let pool = Pool::start().unwrap();
        for _ in 0..2 * RUNNING_MAX {
            assert!(pool.run(&any(), || panic!("as it should")).await.is_err());
        }
        assert_eq!(pool.run(&any(), || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_next_scan_has_normal_priority() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let pool = Pool::start().unwrap();
        for _ in 0..2 * RUNNING_MAX {
            assert_eq!(pool.run(&any(), niceness).await.unwrap(), before);
            let long = move || {
                run_for_long(|| false);
                niceness()
            };
            assert_eq!(pool.run(&any(), long).await.unwrap(), before.max(NICENESS));
        }
        run_for_long(|| false);
        assert_eq!(niceness(), before);
    }

    #[tokio::test]
    async fn scans_end_although_more_of_them_run_for_ever_than_there_are_slots() {
        let pool = Arc::new(Pool::start().unwrap());
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let begun = Arc::new(AtomicUsize::new(0));
        let mut endless = tokio::task::JoinSet::new();
        let count = pool.begun.available_permits() - 1;
        for _ in 0..count {
            let (pool, stop, begun) = (pool.clone(), stop.clone(), begun.clone());
            endless.spawn(async move {
                let scan = move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    run_for_long(|| !stop.load(Ordering::SeqCst));
                };
                pool.run(&any(), scan).await.unwrap();
            });
        }
        assert_eq!(pool.run(&any(), || 7).await.unwrap(), 7);
        pool.run(&any(), || run_for_long(|| false)).await.unwrap();
        while begun.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::SeqCst);
        endless.join_all().await;
    }

    #[tokio::test]
    async fn a_paused_scan_ends_with_its_client() {
        let pool = Arc::new(Pool::start().unwrap());
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut endless = tokio::task::JoinSet::new();
        let slots = pool.threads.long.clone();
        for _ in 0..slots.available_permits() {
            let (pool, stop) = (pool.clone(), stop.clone());
            let scan = move || {
                let gone = Notify::new();
                while !stop.load(Ordering::SeqCst) {
                    // Once long, the scan no longer calls `make_way`, so it keeps its slot.
                    if RUN.with_borrow(|run| run.as_ref().is_some_and(|run| !run.is_long)) {
                        make_way(&gone);
                    }
                    std::thread::yield_now();
                }
            };
            endless.spawn(async move { pool.run(&any(), scan).await.unwrap() });
        }
        while slots.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let gone = Arc::new(Notify::new());
        let seen = gone.clone();
        let connection = any();
        let paused = pool.run(&connection, move || {
            while RUN.with_borrow(|run| run.as_ref().is_some_and(|run| !run.is_long)) {
                make_way(&seen);
            }
        });
        tokio::pin!(paused);
        while pool.threads.paused.load(Ordering::SeqCst) == 0 {
            assert!(futures_util::poll!(paused.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        gone.notify_one();
        paused.await.unwrap();
        stop.store(true, Ordering::SeqCst);
        endless.join_all().await;
    }

    #[tokio::test]
    async fn a_connection_takes_only_its_part() {
        let pool = Pool::start().unwrap();
        let mine = Arc::new(Semaphore::new(1));
        let _other = mine.clone().try_acquire_owned().unwrap();
        let mut waiting = Box::pin(pool.run(&mine, || ()));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert_eq!(pool.run(&any(), || 7).await.unwrap(), 7);
    }
}
