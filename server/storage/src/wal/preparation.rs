//! Prepares the next segment on a separate thread, while the log is written.
//!
//! No write waits for the preparation while the current segment has room, so a failed preparation
//! is retried. The preparation leaves free space on the disk, and makes the segment shorter if it
//! must. Other programs can fill the disk, too. Even then, the log must accept the deletions,
//! compactions and votes that end the shortage, so a reserve file keeps space for one more segment.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::segment::{self, BLOCK};
use crate::retry;
use crate::space::{self, Disk};

/// Size of the reserve file: a segment of this size holds the largest group of small records.
const RESERVE_BYTES: u64 = 8 << 20;
/// Lack of space does not make a segment shorter than this, unless the configured size is shorter.
pub(super) const SHORTEST_BYTES: u64 = 1 << 20;
/// A segment takes at most `1 / FREE_PART` of the free space.
const FREE_PART: u64 = 4;
/// Pause after each chunk of zeros.
const CHUNK_PAUSE: Duration = Duration::from_millis(2);
/// Pause before a failed preparation is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How the log controls the preparing thread.
#[derive(Default)]
struct Control {
    hurry: AtomicBool,
    stop: AtomicBool,
}

impl Control {
    fn must_hurry(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A segment that is being prepared.
pub(super) struct Preparation {
    control: Arc<Control>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Preparation {
    /// Starts to prepare segment `number`, with the largest of `lengths` that leaves enough space
    /// on the disk.
    pub(super) fn start(dir: &Path, number: u64, lengths: RangeInclusive<u64>) -> io::Result<Self> {
        let control = Arc::new(Control::default());
        let dir = dir.to_owned();
        let given = control.clone();
        let thread = std::thread::Builder::new().name("wal-prepare".to_owned());
        let thread = thread.spawn(move || prepare(&dir, number, &lengths, &given))?;
        Ok(Self { control, thread })
    }

    /// Waits until the segment is prepared, without further pauses, and returns its length.
    pub(super) fn finish(self) -> io::Result<u64> {
        self.control.hurry.store(true, Ordering::Relaxed);
        self.end()
    }

    /// Stops the preparation. The segment's file stays on the disk until the log is opened again or
    /// prepares the segment again.
    pub(super) fn abandon(self) {
        self.control.stop.store(true, Ordering::Relaxed);
        // The log does not use the segment, so an error does not matter.
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
    control: &Control,
) -> io::Result<u64> {
    let mut hurried_since = None;
    let mut is_logged = false;
    loop {
        let prepared = choose_length(dir, lengths).and_then(|length| {
            segment::prepare(dir, number, length, &mut || {
                if !control.must_hurry() {
                    std::thread::park_timeout(CHUNK_PAUSE);
                }
                !control.must_stop()
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
        if control.must_stop() {
            return Err(error);
        }
        if control.must_hurry() {
            let since = *hurried_since.get_or_insert_with(Instant::now);
            if !retry::is_transient(&error) || since.elapsed() > retry::RETRY_FOR {
                return Err(error);
            }
            std::thread::sleep(retry::PAUSE);
            continue;
        }
        // Report a full disk once, because the disk can stay full for a long time.
        if !std::mem::replace(&mut is_logged, space::is_full(&error)) {
            let error = space::explain(error, dir, *lengths.start());
            let dir = dir.display();
            tracing::warn!(%error, %dir, "cannot prepare the log's next segment yet");
        }
        std::thread::park_timeout(RETRY_PAUSE);
    }
}

/// The largest of `lengths` that leaves enough space on the disk.
fn choose_length(dir: &Path, lengths: &RangeInclusive<u64>) -> io::Result<u64> {
    // If the file system does not report its free space, try the largest length.
    let Ok(disk) = Disk::of(dir) else { return Ok(*lengths.end()) };
    let shortest = (*lengths.start()).max(SHORTEST_BYTES.min(*lengths.end()));
    let mut length = *lengths.end();
    while length > shortest && length > disk.free / FREE_PART {
        length = (length / 2).next_multiple_of(BLOCK as u64).max(shortest);
    }
    if disk.free >= length + disk.margin() {
        Ok(length)
    } else {
        Err(io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error()))
    }
}

/// Makes the reserve file if it is missing or too small, unless the disk is nearly full.
pub(super) fn reserve(dir: &Path, longest: u64) {
    let bytes = RESERVE_BYTES.min(longest);
    let has_room = |disk: Disk| disk.free >= 2 * bytes + disk.margin();
    if segment::reserved(dir) >= bytes || !Disk::of(dir).is_ok_and(has_room) {
        return;
    }
    // On a file system that cannot reserve space, the log has no reserve file.
    if let Err(error) = segment::reserve(dir, bytes) {
        tracing::debug!(%error, "cannot reserve disk space for the log");
    }
}
