//! Locks a directory against other processes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::DataDirError;

/// The name of the file that is locked.
pub(super) const FILE: &str = "LOCK";

/// Locks `dir`, until the returned file is closed; `None` if another process has locked it.
pub(super) fn lock(dir: &Path) -> Result<Option<File>, DataDirError> {
    let path = dir.join(FILE);
    let io_error = |source| DataDirError::Io { path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(io_error)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(io_error(error.into())),
    }
}
