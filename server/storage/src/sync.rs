//! All calls that sync files and directories to disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::wal::patiently;

static IS_OFF: AtomicBool = AtomicBool::new(false);

/// Turns syncs off for the whole process. Writes then survive a crash of the process, but not a
/// crash of the machine.
pub fn turn_off() {
    IS_OFF.store(true, Ordering::Relaxed);
}

/// Whether syncs are turned off.
pub(crate) fn is_off() -> bool {
    IS_OFF.load(Ordering::Relaxed)
}

/// Makes a file's content durable (`fdatasync`).
pub(crate) fn data(file: &File) -> io::Result<()> {
    if is_off() { Ok(()) } else { file.sync_data() }
}

/// Makes a file's content and metadata durable (`fsync`).
pub(crate) fn all(file: &File) -> io::Result<()> {
    if is_off() { Ok(()) } else { file.sync_all() }
}

/// Makes the entries of a directory durable.
pub(crate) fn dir(path: &Path) -> io::Result<()> {
    if is_off() { Ok(()) } else { patiently(|| File::open(path))?.sync_all() }
}
