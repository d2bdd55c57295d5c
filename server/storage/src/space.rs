//! Free disk space, and retrying writes that find none.

use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use quorate_core::EndReason;

/// Bounds of the margin: space that is left for the log and for the commands that end a shortage.
const MARGIN_BYTES_MAX: u64 = 32 << 20;
const MARGIN_BYTES_MIN: u64 = 2 << 20;
/// Within these bounds, the margin is `1 / MARGIN_PART` of the disk.
const MARGIN_PART: u64 = 16;
/// Pause between two checks for free space.
pub(crate) const CHECK_PAUSE: Duration = Duration::from_millis(200);

/// The size of a file system, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Space that an unprivileged process can still use.
    pub free: u64,
    /// Total size.
    pub total: u64,
}

impl Disk {
    /// The file system of `path`.
    ///
    /// # Errors
    /// `Unsupported` if the file system does not report its size.
    pub fn of(path: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        if disk.f_blocks == 0 {
            // Some file systems report no size.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
    }

    /// Space that is left to the log as long as possible.
    pub fn margin(&self) -> u64 {
        (self.total / MARGIN_PART).clamp(MARGIN_BYTES_MIN, MARGIN_BYTES_MAX)
    }
}

/// Whether an error means that the disk, or the user's disk quota, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The reason for which the process ends after an error of the system.
pub(crate) fn end_reason(error: &io::Error) -> Option<EndReason> {
    if is_full(error) {
        return Some(EndReason::DiskFull);
    }
    let is_damaged =
        matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    is_damaged.then_some(EndReason::Damaged)
}

/// Adds to a disk-full error how many bytes are needed and free, and the remedy. Returns any other
/// error unchanged.
pub(crate) fn explain(error: io::Error, path: &Path, needed: u64) -> io::Error {
    if !is_full(&error) {
        return error;
    }
    let free = Disk::of(path).map_or(0, |disk| disk.free);
    let path = path.display();
    let text = format!(
        "{error}: {needed} bytes are needed in {path}, {free} are free; \
         free space on this disk or enlarge it"
    );
    io::Error::new(error.kind(), text)
}

/// Retries writes that find the disk full, once retries are enabled.
#[derive(Debug, Default)]
pub(crate) struct FullDiskRetry {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_enabled: bool,
    /// Number of waiting threads.
    count: usize,
}

impl FullDiskRetry {
    /// Lets threads wait for space. Before this call a full disk is an error, so that a member that
    /// cannot serve does not start.
    pub(crate) fn enable(&self) {
        self.state.lock().is_enabled = true;
    }

    /// Ends all retries for good: waiting calls fail, and so do later calls that find no space.
    pub(crate) fn disable(&self) {
        self.state.lock().is_enabled = false;
        self.wake.notify_all();
    }

    /// Whether a full disk is an error: before [`Self::enable`], and after [`Self::disable`].
    pub(crate) fn is_disabled(&self) -> bool {
        !self.state.lock().is_enabled
    }

    /// Whether a thread waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.lock().count > 0
    }

    /// Repeats `work` until it does not fail because of a full disk, and logs once that it waits.
    /// `work` needs about `needed` bytes in `path`. After a failure for lack of space, `work` must
    /// have left nothing, or must be able to write over it.
    ///
    /// # Errors
    /// The error of `work`, if it is another one or if retries are not enabled.
    pub(crate) fn retry<T>(
        &self,
        path: &Path,
        needed: u64,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut is_logged = false;
        loop {
            let error = match work() {
                Err(error) if is_full(&error) => explain(error, path, needed),
                result => {
                    if is_logged {
                        tracing::info!(path = %path.display(), "the disk has space again");
                    }
                    return result;
                }
            };
            let mut state = self.state.lock();
            if !state.is_enabled {
                return Err(error);
            }
            if !is_logged {
                tracing::error!(%error, "waiting for disk space; reads continue");
                is_logged = true;
            }
            state.count += 1;
            self.wake.wait_for(&mut state, CHECK_PAUSE);
            state.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn work_is_repeated_until_the_disk_has_space() {
        let full_disk = FullDiskRetry::default();
        let here = Path::new(".");
        let mut tries = 0;
        let mut third = || {
            tries += 1;
            if tries % 3 == 0 { Ok(tries) } else { Err(full()) }
        };
        let refused = full_disk.retry(here, 7, &mut third).unwrap_err();
        assert!(is_full(&refused) && refused.to_string().contains("7 bytes"), "{refused}");
        full_disk.enable();
        assert_eq!(full_disk.retry(here, 7, &mut third).unwrap(), 3);
        let other = full_disk.retry(here, 7, || Err::<(), _>(io::Error::other("x")));
        assert_eq!(other.unwrap_err().to_string(), "x");
    }

    #[test]
    fn retries_can_be_ended() {
        let full_disk = Arc::new(FullDiskRetry::default());
        full_disk.enable();
        let waits = full_disk.clone();
        let thread =
            std::thread::spawn(move || waits.retry(Path::new("."), 1, || Err::<(), _>(full())));
        while !full_disk.is_waiting() {
            std::thread::yield_now();
        }
        full_disk.disable();
        assert!(thread.join().unwrap().is_err());
        assert!(!full_disk.is_waiting() && full_disk.is_disabled());
    }

    #[test]
    fn small_disks_have_a_smaller_margin() {
        let margin = |total: u64| Disk { free: 0, total }.margin() >> 20;
        assert_eq!([margin(8 << 20), margin(64 << 20), margin(1 << 40)], [2, 4, 32]);
    }
}
