//! The database's file: which one is current, and writes that leave the disk to the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::StorageBackend;

use super::BaseError;
use crate::wal::sync_dir;

const CURRENT: &str = "CURRENT";
const EXTENSION: &str = "redb";

/// Bytes written before they are synced early. A flush writes tens of megabytes; synced at the end
/// in one go, they would hold up the log's own small writes in the disk's queue.
const PACE_BYTES: u64 = 512 << 10;
/// Pause after each such sync.
const PACE_PAUSE: Duration = Duration::from_millis(1);

/// A file that syncs as it is written, a little at a time.
#[derive(Debug)]
pub(super) struct PacedFile {
    file: File,
    unsynced: AtomicU64,
}

impl PacedFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Self { file: options.open(path)?, unsynced: AtomicU64::new(0) })
    }
}

impl StorageBackend for PacedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        let length = data.len() as u64;
        if self.unsynced.fetch_add(length, Ordering::Relaxed) + length >= PACE_BYTES {
            self.sync_data()?;
            std::thread::sleep(PACE_PAUSE);
        }
        Ok(())
    }
}

/// Whether a database was begun in `dir`.
pub(crate) fn exists(dir: &Path) -> bool {
    dir.join(CURRENT).exists()
}

/// The directory of the database. `CURRENT` names the file in use; defragmentation makes another
/// one and changes the name.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the directory; makes it if it does not exist.
    pub(super) fn open(path: &Path) -> Result<Self, BaseError> {
        let directory = Self { path: path.to_owned() };
        crate::data_dir::create_private(path).map_err(|e| directory.io_error(e))?;
        Ok(directory)
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of file `number`.
    pub(super) fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.{EXTENSION}"))
    }

    /// The number of the file in use, if there is one.
    pub(super) fn current(&self) -> Result<Option<u64>, BaseError> {
        let path = self.path.join(CURRENT);
        let name = match std::fs::read_to_string(&path) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BaseError::Io { path, source }),
        };
        let number = name.strip_suffix('\n').and_then(|n| n.strip_suffix(&format!(".{EXTENSION}")));
        match number.and_then(|number| u64::from_str_radix(number, 16).ok()) {
            Some(number) => Ok(Some(number)),
            None => {
                let what = "it does not name a database".to_owned();
                Err(BaseError::Damaged { path, what })
            }
        }
    }

    /// What is wrong when nothing says which file is in use.
    pub(super) fn without_current(&self) -> BaseError {
        BaseError::Damaged { path: self.path.join(CURRENT), what: "it is missing".to_owned() }
    }

    /// Makes file `number` the one in use, durably.
    pub(super) fn set_current(&self, number: u64) -> io::Result<()> {
        let temporary = self.path.join(format!("{CURRENT}.tmp"));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(format!("{number:016x}.{EXTENSION}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, self.path.join(CURRENT))?;
        sync_dir(&self.path)
    }

    /// Removes databases that are not in use: what a defragmentation left when it did not end.
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

    /// The space that file `number` takes on disk: it can have holes.
    pub(super) fn allocated_bytes(&self, number: u64) -> io::Result<u64> {
        Ok(std::fs::metadata(self.file(number))?.blocks() * 512)
    }

    pub(super) fn io_error(&self, source: io::Error) -> BaseError {
        BaseError::Io { path: self.path.clone(), source }
    }
}
