//! How much room a disk has, and waiting for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Room that is left to the log and to what ends a shortage. Small disks have less to give.
const MARGIN_BYTES_MAX: u64 = 32 << 20;
const MARGIN_BYTES_MIN: u64 = 2 << 20;
/// One part in so many of a disk.
const MARGIN_PART: u64 = 16;
/// Pause before it is looked at again whether a disk has room.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// What a process without privileges can still write.
    pub free: u64,
    /// Its size.
    pub total: u64,
}

impl Disk {
    /// The disk of `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let disk = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        if disk.f_blocks == 0 {
            // Some file systems do not tell.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { free: bytes(disk.f_bavail), total: bytes(disk.f_blocks) })
    }

    /// What nothing but the log takes as long as there is a choice.
    pub fn margin(&self) -> u64 {
        (self.total / MARGIN_PART).clamp(MARGIN_BYTES_MIN, MARGIN_BYTES_MAX)
    }
}

/// Whether an error says that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says of such an error what it lacks and what can be done.
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

/// Where the threads that write wait for room.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether anybody may wait.
    is_allowed: bool,
    /// How many do.
    count: usize,
}

impl Waiting {
    /// Lets threads wait from now on: before a member serves, it had better not start.
    pub(crate) fn allow(&self) {
        self.state.lock().is_allowed = true;
    }

    /// Ends all waiting, for good: what waits fails.
    pub(crate) fn end(&self) {
        self.state.lock().is_allowed = false;
        self.wake.notify_all();
    }

    /// Whether waiting was not allowed yet, or was ended.
    pub(crate) fn is_over(&self) -> bool {
        !self.state.lock().is_allowed
    }

    /// Whether somebody waits.
    pub(crate) fn is_waited(&self) -> bool {
        self.state.lock().count > 0
    }

    /// Does `work`, which needs about so many bytes in `path`, as often as it takes until the disk
    /// has room for it, and says so once. Only for what leaves nothing when it fails for this
    /// reason, or can be done again over what it left.
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
                        tracing::info!(path = %path.display(), "there is room on the disk again");
                    }
                    return result;
                }
            };
            let mut state = self.state.lock();
            if !state.is_allowed {
                return Err(error);
            }
            if !is_told {
                tracing::error!(%error, "waiting for room on the disk; reads go on");
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
    fn what_finds_no_room_is_done_when_there_is_some() {
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
    fn small_disks_keep_less_back() {
        let margin = |total: u64| Disk { free: 0, total }.margin() >> 20;
        assert_eq!([margin(8 << 20), margin(64 << 20), margin(1 << 40)], [2, 4, 32]);
    }
}
