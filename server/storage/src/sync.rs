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

/// Makes a directory and its missing parents, durably, with permissions only for the user. Does not
/// change an existing directory.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    // Each parent that is made needs a sync of its own parent, too.
    create_dir(parent)?;
    // Recursive, so that a directory that another process has made meanwhile is no error.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    dir(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_parents_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create_dir(&path).unwrap();
        create_dir(&path).unwrap();
        create_dir(&folder.path().join("d/..")).unwrap();
        assert!(path.is_dir());
        std::fs::write(path.join("file"), "").unwrap();
        let error = create_dir(&path.join("file/e")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
