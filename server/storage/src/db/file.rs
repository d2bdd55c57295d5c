//! The files of the database, and which of them is in use.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::Histogram;
use quorate_core::Fault;
use redb::Database;

use super::error::{Damage, DatabaseError, fault};
use super::paced::{FullDiskPolicy, PacedFile};
use crate::space::{Disk, FullDiskRetry};
use crate::sync;

const CURRENT: &str = "CURRENT";
const EXTENSION: &str = "redb";
/// Number of the first file in a new directory.
pub(super) const FIRST: u64 = 1;

/// Unsynced bytes at which a write syncs the file. A flush writes tens of megabytes: one sync of
/// all of them would delay the log's small writes in the disk's queue.
const PACE_BYTES: u64 = 512 << 10;
/// Unsynced bytes at which a write syncs a file that receives a snapshot. A member that lags so far
/// behind has few writes to delay, and receives the snapshot in half the time.
const RECEIVING_PACE_BYTES: u64 = 2 << 20;

/// Whether `dir` has a database.
pub(crate) fn exists(dir: &Path) -> bool {
    dir.join(CURRENT).exists()
}

/// Opens the database in a file, or makes one. If `verified`, first checks every page.
pub(super) fn open_database(
    path: &Path,
    cache_bytes: usize,
    verified: bool,
    syncs: Histogram,
    full_disk: FullDiskPolicy,
) -> Result<Arc<Database>, DatabaseError> {
    let file = open_paced(path, PACE_BYTES, syncs, full_disk)?;
    open_in(path, file, cache_bytes, verified)
}

fn open_paced(
    path: &Path,
    pace_bytes: u64,
    syncs: Histogram,
    full_disk: FullDiskPolicy,
) -> Result<PacedFile, DatabaseError> {
    PacedFile::open(path, pace_bytes, syncs, full_disk)
        .map_err(|source| DatabaseError::Io { path: path.to_owned(), source })
}

fn open_in(
    path: &Path,
    file: PacedFile,
    cache_bytes: usize,
    verified: bool,
) -> Result<Arc<Database>, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(verified);
    match builder.create_with_backend(file) {
        Ok(database) => Ok(Arc::new(database)),
        Err(source) => Err(DatabaseError::Redb { path: path.to_owned(), source }),
    }
}

/// A new database file that is not in use. Dropping it removes the file, unless
/// [`NewFile::keep`] was called.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    number: u64,
    is_kept: bool,
    syncs: Histogram,
    full_disk: FullDiskPolicy,
}

impl NewFile {
    /// Opens the database in the file, or makes an empty one.
    pub(super) fn open(&self, cache_bytes: usize) -> Result<Arc<Database>, Fault> {
        self.open_with(cache_bytes, PACE_BYTES)
    }

    /// Like [`NewFile::open`], for a database that receives a snapshot.
    pub(super) fn open_to_receive(&self, cache_bytes: usize) -> Result<Arc<Database>, Fault> {
        self.open_with(cache_bytes, RECEIVING_PACE_BYTES)
    }

    fn open_with(&self, cache_bytes: usize, pace_bytes: u64) -> Result<Arc<Database>, Fault> {
        let full_disk = self.full_disk.clone();
        let file = open_paced(&self.path, pace_bytes, self.syncs.clone(), full_disk);
        let database = file.and_then(|file| open_in(&self.path, file, cache_bytes, false));
        database.map_err(fault)
    }

    /// The file system of the file.
    pub(super) fn disk(&self) -> io::Result<Disk> {
        Disk::of(&self.path)
    }

    /// The number of the file.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Keeps the file because it is in use from now on; returns its number.
    pub(super) fn keep(mut self) -> u64 {
        self.is_kept = true;
        self.full_disk.set_in_use();
        self.number
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        match std::fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove a database");
            }
        }
    }
}

/// The directory of the database. `CURRENT` names the file in use. A defragmentation and an
/// installed snapshot each make a new file and change `CURRENT`.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The number of the next new file.
    next: AtomicU64,
    /// Duration in seconds of each sync of a file in the directory.
    syncs: Histogram,
    /// Lets writes to the file in use wait for disk space.
    pub(super) full_disk: Arc<FullDiskRetry>,
    #[cfg(test)]
    pub(super) probe: super::tests::Probe,
}

impl Directory {
    /// Opens the directory; makes it if it does not exist.
    pub(super) fn open(path: &Path, syncs: Histogram) -> Result<Self, DatabaseError> {
        let directory = Self {
            path: path.to_owned(),
            next: AtomicU64::new(FIRST),
            syncs,
            full_disk: Arc::default(),
            #[cfg(test)]
            probe: super::tests::Probe::default(),
        };
        sync::create_dir(path).map_err(|e| directory.io_error(e))?;
        let used = directory.current()?.unwrap_or(FIRST);
        directory.next.store(used + 1, Ordering::Relaxed);
        Ok(directory)
    }

    /// A new file with an unused number.
    pub(super) fn new_file(&self) -> NewFile {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let full_disk = FullDiskPolicy::new(self.full_disk.clone());
        let syncs = self.syncs.clone();
        NewFile { path: self.file(number), number, is_kept: false, syncs, full_disk }
    }

    /// Path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of file `number`.
    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{EXTENSION}"))
    }

    /// The number of the file in use, if there is one.
    pub(super) fn current(&self) -> Result<Option<u64>, DatabaseError> {
        let path = self.path.join(CURRENT);
        let name = match std::fs::read_to_string(&path) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DatabaseError::Io { path, source }),
        };
        let number = name.strip_suffix('\n').and_then(|n| n.strip_suffix(&format!(".{EXTENSION}")));
        let number = number.and_then(|number| u64::from_str_radix(number, 16).ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(DatabaseError::Damaged { path, damage: Damage::NamesNone }),
        }
    }

    /// The error for a directory without `CURRENT`.
    pub(super) fn without_current(&self) -> DatabaseError {
        DatabaseError::Damaged { path: self.path.join(CURRENT), damage: Damage::Missing }
    }

    /// Durably makes file `number` the one in use. The content of the file must be durable.
    pub(super) fn set_current(&self, number: u64) -> io::Result<()> {
        // The file's directory entry must be durable before `CURRENT` names the file.
        sync::dir(&self.path)?;
        let temporary = self.path.join(format!("{CURRENT}.tmp"));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{number:016x}.{EXTENSION}\n").as_bytes())?;
        sync::all(&file)?;
        #[cfg(test)]
        self.probe.reached("named", &self.path);
        std::fs::rename(&temporary, self.path.join(CURRENT))?;
        #[cfg(test)]
        self.probe.reached("renamed", &self.path);
        sync::dir(&self.path)
    }

    /// Removes file `number`, which is no longer in use. Readers that have it open can continue.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.file(number))
    }

    /// Removes databases that are not in use, left by a process that ended while it made them.
    pub(super) fn remove_others(&self, current: Option<u64>) -> io::Result<()> {
        let keep = current.map(|number| self.file(number));
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_database = path.extension().is_some_and(|e| e == EXTENSION || e == "tmp");
            if is_database && Some(&path) != keep.as_ref() {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The space that file `number` takes on disk, in bytes. The file can have holes.
    pub(super) fn allocated_bytes(&self, number: u64) -> io::Result<u64> {
        Ok(std::fs::metadata(self.file(number))?.blocks() * 512)
    }

    pub(super) fn io_error(&self, source: io::Error) -> DatabaseError {
        DatabaseError::Io { path: self.path.clone(), source }
    }
}
