//! The threads on which scans run.
//!
//! There are few, and a long scan lowers the priority of its thread. A write passes through several
//! threads. While scans take all processors, it would wait at each for the end of a time slice.
//! A thread without privileges cannot raise its priority again, so it ends after such a scan, and a
//! new thread replaces it.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads at most; no more than there are processors but two.
const THREADS_MAX: usize = 8;
const THREADS_MIN: usize = 2;
/// The niceness of a scan that takes long: beside another thread that never rests, it gets a tenth
/// of a processor.
const NICENESS: i32 = 10;

/// A scan, and the slot that it takes up.
struct Job {
    scan: Box<dyn FnOnce() + Send>,
    slot: OwnedSemaphorePermit,
}

/// Runs scans; others wait for their turn.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
    /// One for each thread.
    slots: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// What the threads share.
struct Threads {
    jobs: Mutex<mpsc::Receiver<Job>>,
    /// Threads that ended and are to be replaced.
    missing: AtomicUsize,
}

/// A scan panicked, or the system gave it no thread.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("it panicked")]
    Panicked,
    #[error("no thread for it: {0}")]
    Thread(#[from] io::Error),
}

impl Pool {
    /// Starts the threads. They end with the pool.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
        let count = processors.clamp(THREADS_MIN, THREADS_MAX);
        let (jobs, receiver) = mpsc::channel();
        let threads = Threads { jobs: Mutex::new(receiver), missing: AtomicUsize::new(count) };
        let threads = Arc::new(threads);
        for _ in 0..count {
            threads.replace_one()?;
        }
        Ok(Self { jobs, slots: Arc::new(Semaphore::new(count)), threads })
    }

    /// Runs a scan when a thread is free.
    ///
    /// # Errors
    /// When it panics, or the system gives no thread.
    ///
    /// # Cancel safety
    /// A scan that has begun runs to its end when the future is dropped.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        scan: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| Failed::Panicked)?;
        self.threads.replace_one()?;
        let (sender, receiver) = oneshot::channel();
        let scan = Box::new(move || {
            // The future may be dropped by now.
            sender.send(catch_unwind(AssertUnwindSafe(scan))).ok();
        });
        self.jobs.send(Job { scan, slot }).map_err(|_| Failed::Panicked)?;
        receiver.await.ok().and_then(Result::ok).ok_or(Failed::Panicked)
    }
}

impl Threads {
    /// Replaces a thread that ended, if there is one. Not by the thread itself: a new thread has
    /// the priority of the one that starts it.
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

    fn work(&self) {
        BEHIND.set(Some(false));
        loop {
            let job = self.jobs.lock().recv();
            let Ok(Job { scan, slot }) = job else { return };
            scan();
            let is_behind = BEHIND.get() == Some(true);
            if is_behind {
                self.missing.fetch_add(1, Ordering::SeqCst);
            }
            // Whoever gets the slot finds a thread, or starts one.
            drop(slot);
            if is_behind {
                return;
            }
        }
    }
}

thread_local! {
    /// Whether this thread has stepped back; `None` outside the pool.
    static BEHIND: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Has the system prefer every other thread to this one of the pool, until its scan ends.
pub(super) fn step_back() {
    if BEHIND.get() != Some(false) {
        return;
    }
    BEHIND.set(Some(true));
    // On Linux this is the niceness of the thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "a long scan has the same priority as everything else");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_outlive_scans_that_panic() {
        let pool = Pool::start().unwrap();
        for _ in 0..2 * THREADS_MAX {
            assert!(pool.run(|| panic!("as it should")).await.is_err());
        }
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_next_scan_is_not_behind() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let pool = Pool::start().unwrap();
        for _ in 0..2 * THREADS_MAX {
            assert_eq!(pool.run(niceness).await.unwrap(), before);
            let behind = move || {
                step_back();
                niceness()
            };
            assert_eq!(pool.run(behind).await.unwrap(), before.max(NICENESS));
        }
        step_back();
        assert_eq!(niceness(), before);
    }
}
