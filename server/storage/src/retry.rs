//! Retrying calls that fail because the system is short of file descriptors or memory.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Pause before the next attempt.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// How long a call is retried.
pub(crate) const RETRY_FOR: Duration = Duration::from_secs(10);

/// Retries `open` for [`RETRY_FOR`] while it fails because the process or the system has too many
/// open files or too little memory. This is only for calls that open something: failed writes and
/// syncs are never retried.
///
/// # Errors
/// The error of the last attempt.
pub(crate) fn open<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let started = Instant::now();
    loop {
        match open() {
            Err(error) if is_transient(&error) && started.elapsed() < RETRY_FOR => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Whether an error means that the process or the system is short of file descriptors, threads or
/// memory for now.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    let transient = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| transient.contains(&errno))
}
