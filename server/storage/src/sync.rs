//! The one place that waits for the disk.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::wal::patiently;

static IS_OFF: AtomicBool = AtomicBool::new(false);

/// Has the whole process never wait for the disk again: what is written is there after a crash of
/// the process, and not after one of the machine.
pub fn turn_off() {
    IS_OFF.store(true, Ordering::Relaxed);
}

/// Whether nothing waits for the disk.
pub(crate) fn is_off() -> bool {
    IS_OFF.load(Ordering::Relaxed)
}

/// Makes a file's content durable.
pub(crate) fn data(file: &File) -> io::Result<()> {
    if is_off() { Ok(()) } else { file.sync_data() }
}

/// Makes a file durable.
pub(crate) fn all(file: &File) -> io::Result<()> {
    if is_off() { Ok(()) } else { file.sync_all() }
}

/// Makes the names in a directory durable.
pub(crate) fn dir(path: &Path) -> io::Result<()> {
    if is_off() { Ok(()) } else { patiently(|| File::open(path))?.sync_all() }
}
