//! The next segment in the making, beside the log that is being written.
//!
//! Nothing depends on it while the current segment has room: what fails is tried again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::segment;

/// Pause between the chunks of zeros written in advance.
const CHUNK_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a preparation that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The same when the log waits for it.
const HURRIED_PAUSE: Duration = Duration::from_millis(20);
/// How long the log waits for what the system lacks for the moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries again, for a while, what fails because the process or the system has too many files open
/// or too little memory. Only what opens something is called so: a failed write or sync never is.
pub(crate) fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let started = Instant::now();
    loop {
        match open() {
            Err(error) if may_pass(&error) && started.elapsed() < PATIENCE => {
                std::thread::sleep(HURRIED_PAUSE);
            }
            result => return result,
        }
    }
}

/// Whether an error is of the moment.
fn may_pass(error: &io::Error) -> bool {
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

/// What the log tells the thread that prepares.
#[derive(Default)]
struct Orders {
    hurry: AtomicBool,
    stop: AtomicBool,
}

impl Orders {
    fn are_to_hurry(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    fn are_to_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A segment in the making.
pub(super) struct Preparation {
    /// How long the segment will be.
    pub(super) length: u64,
    orders: Arc<Orders>,
    thread: JoinHandle<io::Result<()>>,
}

impl Preparation {
    /// Begins to prepare segment `number`.
    pub(super) fn start(dir: &Path, number: u64, length: u64) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let (dir, taken) = (dir.to_owned(), orders.clone());
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned());
        let thread = thread.spawn(move || prepare(&dir, number, length, &taken))?;
        Ok(Self { length, orders, thread })
    }

    /// Waits until the segment is prepared, without further pauses.
    pub(super) fn finish(self) -> io::Result<()> {
        self.orders.hurry.store(true, Ordering::Relaxed);
        self.end()
    }

    /// Gives it up. The file stays, unfinished, until the next start or the next preparation.
    pub(super) fn abandon(self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        // It failed or was not finished; nobody needs it.
        self.end().ok();
    }

    fn end(self) -> io::Result<()> {
        self.thread.thread().unpark();
        self.thread.join().expect("preparing does not panic")
    }
}

fn prepare(dir: &Path, number: u64, length: u64, orders: &Orders) -> io::Result<()> {
    let mut hurried_since = None;
    loop {
        let prepared = segment::prepare(dir, number, length, &mut || {
            if !orders.are_to_hurry() {
                std::thread::park_timeout(CHUNK_PAUSE);
            }
            !orders.are_to_stop()
        });
        let Err(error) = prepared else { return Ok(()) };
        if orders.are_to_stop() {
            return Err(error);
        }
        if orders.are_to_hurry() {
            let since = *hurried_since.get_or_insert_with(Instant::now);
            if !may_pass(&error) || since.elapsed() > PATIENCE {
                return Err(error);
            }
            std::thread::sleep(HURRIED_PAUSE);
            continue;
        }
        let dir = dir.display();
        tracing::warn!(%error, %dir, "cannot prepare the log's next segment yet");
        std::thread::park_timeout(RETRY_PAUSE);
    }
}
