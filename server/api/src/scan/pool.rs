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

/// Most threads. There is one for each processor, but at least [`THREADS_MIN`].
const THREADS_MAX: usize = 8;
const THREADS_MIN: usize = 2;
/// The niceness of a long scan. Beside a busy thread of normal priority, the scan gets about a
/// tenth of a processor.
const NICENESS: i32 = 10;

/// A scan and its slot.
struct Job {
    scan: Box<dyn FnOnce() + Send>,
    slot: OwnedSemaphorePermit,
}

/// Runs scans. A scan without a free thread waits.
pub(crate) struct Pool {
    jobs: mpsc::Sender<Job>,
    /// One for each thread.
    slots: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// The state that the threads share.
struct Threads {
    jobs: Mutex<mpsc::Receiver<Job>>,
    /// Number of ended threads that are not replaced yet.
    missing: AtomicUsize,
}

/// Why a scan has no result.
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
    /// The system has no thread.
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

    /// Runs a scan as soon as a thread is free.
    ///
    /// # Errors
    /// The scan panics, or the system has no thread for it.
    ///
    /// # Cancel safety
    /// If the future is dropped, a running scan still runs to its end.
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
    /// Replaces one ended thread, if there is one. An ending thread cannot start its replacement: a
    /// new thread inherits the priority of the thread that starts it.
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
            // The next owner of the slot finds a free thread, or starts one.
            drop(slot);
            if is_behind {
                return;
            }
        }
    }
}

thread_local! {
    /// Whether this thread has lowered its priority; `None` outside the pool.
    static BEHIND: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Lowers the priority of this thread of the pool until its scan ends. Has no effect outside the
/// pool.
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
