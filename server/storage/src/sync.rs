//! All calls that sync files and directories to disk.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::retry;

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
    if is_off() { Ok(()) } else { retry::open(|| File::open(path))?.sync_all() }
}

/// Makes a directory and its missing parents, with permissions only for the user. Syncs the direct
/// parent of the directory, but not the parents above it. Does not change an existing directory.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    if let Ok(metadata) = std::fs::metadata(path) {
        let is_dir = metadata.is_dir();
        return if is_dir { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => dir(parent),
        _ => dir(Path::new(".")),
    }
}
