//! How much room a disk has.

use std::io;
use std::path::Path;

/// Bytes that a process without privileges can still write to the disk of `path`.
pub(crate) fn free(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
