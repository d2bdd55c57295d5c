//! Free disk space, and waiting for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bounds of the margin: space that is left for the log and for the commands that end a shortage.
const MARGIN_BYTES_MAX: u64 = 32 << 20;
const MARGIN_BYTES_MIN: u64 = 2 << 20;
/// Within these bounds, the margin is `1 / MARGIN_PART` of the disk.
const MARGIN_PART: u64 = 16;
/// Pause between two checks for free space.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(200);

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

    /// Space that only the log uses, as far as it can be avoided.
    pub fn margin(&self) -> u64 {
        (self.total / MARGIN_PART).clamp(MARGIN_BYTES_MIN, MARGIN_BYTES_MAX)
    }
}

/// Whether an error means that the disk, or the user's disk quota, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Adds to a disk-full error how many bytes are needed and free, and what to do. Returns any other
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

/// Lets writing threads wait for disk space. Waiting is not allowed at first.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether threads may wait.
    is_allowed: bool,
    /// Number of waiting threads.
    count: usize,
}

impl Waiting {
    /// Allows threads to wait. Before this call a full disk is an error, so that a member that
    /// cannot serve does not start.
    pub(crate) fn allow(&self) {
        self.state.lock().is_allowed = true;
    }

    /// Ends all waiting for good: waiting calls fail, and so do later calls that find no space.
    pub(crate) fn end(&self) {
        self.state.lock().is_allowed = false;
        self.wake.notify_all();
    }

    /// Whether threads may not wait, either not yet or no longer.
    pub(crate) fn is_over(&self) -> bool {
        !self.state.lock().is_allowed
    }

    /// Whether a thread waits.
    pub(crate) fn is_waited(&self) -> bool {
        self.state.lock().count > 0
    }

    /// Repeats `work` until it does not fail because of a full disk, and logs once that it waits.
    /// `work` needs about `needed` bytes in `path`. After a failure for lack of space, `work` must
    /// have left nothing, or must be able to write over what it left.
    ///
    /// # Errors
    /// The error of `work`, if it is another one or if waiting is not allowed.
    pub(crate) fn until_there_is_room<T>(
        &self,
        path: &Path,
        needed: u64,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut is_told = false;
        loop {
            let error = match work() {
                Err(error) if is_full(&error) => explain(error, path, needed),
                result => {
                    if is_told {
                        tracing::info!(path = %path.display(), "the disk has space again");
                    }
                    return result;
                }
            };
            let mut state = self.state.lock();
            if !state.is_allowed {
                return Err(error);
            }
            if !is_told {
                tracing::error!(%error, "waiting for disk space; reads continue");
                is_told = true;
            }
            state.count += 1;
            self.wake.wait_for(&mut state, LOOK_PAUSE);
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
        let waiting = Waiting::default();
        let here = Path::new(".");
        let mut tries = 0;
        let mut third = || {
            tries += 1;
            if tries % 3 == 0 { Ok(tries) } else { Err(full()) }
        };
        let refused = waiting.until_there_is_room(here, 7, &mut third).unwrap_err();
        assert!(is_full(&refused) && refused.to_string().contains("7 bytes"), "{refused}");
        waiting.allow();
        assert_eq!(waiting.until_there_is_room(here, 7, &mut third).unwrap(), 3);
        let other = waiting.until_there_is_room(here, 7, || Err::<(), _>(io::Error::other("x")));
        assert_eq!(other.unwrap_err().to_string(), "x");
    }

    #[test]
    fn waiting_can_be_ended() {
        let waiting = Arc::new(Waiting::default());
        waiting.allow();
        let waits = waiting.clone();
        let thread = std::thread::spawn(move || {
            waits.until_there_is_room(Path::new("."), 1, || Err::<(), _>(full()))
        });
        while !waiting.is_waited() {
            std::thread::yield_now();
        }
        waiting.end();
        assert!(thread.join().unwrap().is_err());
        assert!(!waiting.is_waited() && waiting.is_over());
    }

    #[test]
    fn small_disks_have_a_smaller_margin() {
        let margin = |total: u64| Disk { free: 0, total }.margin() >> 20;
        assert_eq!([margin(8 << 20), margin(64 << 20), margin(1 << 40)], [2, 4, 32]);
    }
}
