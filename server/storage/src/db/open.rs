//! Opening the database at a start.

use std::path::Path;
use std::sync::Arc;

use quorate_core::Fault;
use quorate_core::store::RestoredState;
use redb::Database;

use super::error::fault;
use super::error::{Damage, DatabaseError};
use super::file::{Directory, FIRST, open_database};
use super::merge::{begin, create_tables};
use super::meta::Meta;
use super::metrics::Metrics;
use super::paced::FullDiskPolicy;
use super::read_txn::ReadTxn;
use super::state::Options;

/// Files up to this size are verified completely when they are opened, which takes less than a
/// tenth of a second. Rows of larger files are verified only as they are read.
const VERIFY_BYTES_MAX: u64 = 64 << 20;

/// An open database without its writing thread.
pub struct OpenedDatabase {
    pub(super) directory: Directory,
    pub(super) number: u64,
    pub(super) database: Arc<Database>,
    pub(super) base: Arc<ReadTxn>,
    restored: RestoredState,
    pub(super) options: Options,
    pub(super) metrics: Metrics,
    pub(super) full_disk: FullDiskPolicy,
}

impl OpenedDatabase {
    /// Opens the database in `path`; makes one if there is none and the member `is_new`.
    ///
    /// # Errors
    /// The database is missing although the member is not new, it is damaged, or the system or
    /// redb reported an error. The error names the file.
    pub fn open(path: &Path, options: Options, is_new: bool) -> Result<Self, DatabaseError> {
        let metrics = Metrics::default();
        let directory = Directory::open(path, metrics.commit.clone())?;
        let current = directory.current()?;
        if current.is_none() && !is_new {
            // Change nothing: if only `CURRENT` is lost, a file here may be the database.
            return Err(directory.without_current());
        }
        directory.remove_others(current).map_err(|e| directory.io_error(e))?;
        let number = current.unwrap_or(FIRST);
        let path = directory.file(number);
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if current.is_some() && length == 0 {
            return Err(DatabaseError::Damaged { path, damage: Damage::MissingOrEmpty });
        }
        let verified = current.is_some() && length <= VERIFY_BYTES_MAX;
        let syncs = metrics.commit.clone();
        let full_disk = FullDiskPolicy::new(directory.full_disk.clone());
        let policy = full_disk.clone();
        let database = open_database(&path, options.cache_bytes, verified, syncs, policy)?;
        let damaged = |fault: Fault| DatabaseError::content(path.clone(), fault);
        if current.is_none() {
            create(&database).map_err(damaged)?;
            directory.set_current(number).map_err(|e| directory.io_error(e))?;
        }
        let base = Arc::new(ReadTxn::open(&database).map_err(damaged)?);
        let restored = base.restored().map_err(damaged)?;
        Ok(Self { directory, number, database, base, restored, options, metrics, full_disk })
    }

    /// The flushed state.
    pub fn base(&self) -> Arc<dyn quorate_core::base::Base> {
        self.base.clone()
    }

    /// The state that a store needs in addition to the base.
    pub fn restored(&self) -> &RestoredState {
        &self.restored
    }
}

fn create(database: &Database) -> Result<(), Fault> {
    let txn = begin(database)?;
    create_tables(&txn, &Meta::default())?;
    txn.commit().map_err(fault)
}
