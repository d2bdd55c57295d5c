//! The next segment in the making, beside the log that is being written.
//!
//! Nothing depends on it while the current segment has room: what fails is tried again. It leaves
//! room on the disk, and makes the segment shorter for it. Some room is reserved for the log, for a
//! segment that finds no other: a disk can be filled by others, too, and then the log must take the
//! deletions, compactions and votes that end it.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::segment::{self, BLOCK};
use crate::space::{self, Disk};

/// Room that is reserved: a segment in which the largest group of small records fits.
const RESERVE_BYTES: u64 = 8 << 20;
/// The shortest segment that is made for lack of room, unless all are shorter.
pub(super) const SHORTEST_BYTES: u64 = 1 << 20;
/// A segment takes at most one part in so many of what is free.
const FREE_PART: u64 = 4;
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
    orders: Arc<Orders>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Preparation {
    /// Begins to prepare segment `number`, as long as it may be and the disk has room.
    pub(super) fn start(dir: &Path, number: u64, lengths: RangeInclusive<u64>) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let (dir, taken) = (dir.to_owned(), orders.clone());
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned());
        let thread = thread.spawn(move || prepare(&dir, number, &lengths, &taken))?;
        Ok(Self { orders, thread })
    }

    /// Waits until the segment is prepared, without further pauses; returns its length.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.orders.hurry.store(true, Ordering::Relaxed);
        self.end()
    }

    /// Gives it up. The file stays, unfinished, until the next start or the next preparation.
    pub(super) fn abandon(self) {
        self.orders.stop.store(true, Ordering::Relaxed);
        // It failed or was not finished; nobody needs it.
        self.end().ok();
    }

    fn end(self) -> io::Result<u64> {
        self.thread.thread().unpark();
        self.thread.join().expect("preparing does not panic")
    }
}

fn prepare(
    dir: &Path,
    number: u64,
    lengths: &RangeInclusive<u64>,
    orders: &Orders,
) -> io::Result<u64> {
    let (mut hurried_since, mut is_told) = (None, false);
    loop {
        let prepared = fitting(dir, lengths).and_then(|length| {
            segment::prepare(dir, number, length, &mut || {
                if !orders.are_to_hurry() {
                    std::thread::park_timeout(CHUNK_PAUSE);
                }
                !orders.are_to_stop()
            })?;
            Ok(length)
        });
        let error = match prepared {
            Ok(length) => {
                reserve(dir, *lengths.end());
                return Ok(length);
            }
            Err(error) => error,
        };
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
        // A disk can be full for long.
        if !std::mem::replace(&mut is_told, space::is_full(&error)) {
            let error = space::explain(error, dir, *lengths.start());
            let dir = dir.display();
            tracing::warn!(%error, %dir, "cannot prepare the log's next segment yet");
        }
        std::thread::park_timeout(RETRY_PAUSE);
    }
}

/// The length of a segment that leaves room on the disk.
fn fitting(dir: &Path, lengths: &RangeInclusive<u64>) -> io::Result<u64> {
    // Where a disk does not tell, it shows by itself what it has.
    let Ok(disk) = Disk::of(dir) else { return Ok(*lengths.end()) };
    let shortest = (*lengths.start()).max(SHORTEST_BYTES.min(*lengths.end()));
    let mut length = *lengths.end();
    while length > shortest && length > disk.free / FREE_PART {
        length = (length / 2).next_multiple_of(BLOCK as u64).max(shortest);
    }
    match disk.free >= length + disk.margin() {
        true => Ok(length),
        false => Err(io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error())),
    }
}

/// Sees to it that there is room for a segment when everything else of the disk is taken, unless it
/// nearly is.
pub(super) fn reserve(dir: &Path, longest: u64) {
    let bytes = RESERVE_BYTES.min(longest);
    let has_room = |disk: Disk| disk.free >= 2 * bytes + disk.margin();
    if segment::reserved(dir) >= bytes || !Disk::of(dir).is_ok_and(has_room) {
        return;
    }
    // Where a file system cannot do it, the log goes on without.
    if let Err(error) = segment::reserve(dir, bytes) {
        tracing::debug!(%error, "no room is reserved for the log");
    }
}
