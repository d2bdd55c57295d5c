//! Why the database cannot be opened, read or written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::{Fault, LogPosition, Revision};

use super::meta::MetaError;
use crate::format::OtherFormat;

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file system reported an error.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// redb reported an error.
    #[error("cannot use the database {path}: {source}")]
    Redb {
        /// The file.
        path: PathBuf,
        /// The error of redb.
        source: redb::DatabaseError,
    },
    /// Another version of Quorate wrote the database.
    #[error("cannot use the database {path}: {format}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// The database is damaged.
    #[error("the database {path} is damaged: {damage}; restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        damage: Damage,
    },
}

impl DatabaseError {
    /// The error for a file whose content cannot be read.
    pub(super) fn content(path: PathBuf, fault: Fault) -> Self {
        let found = match &fault {
            Fault::Storage(cause) => cause.downcast_ref(),
            _ => None,
        };
        match found {
            Some(MetaError::Format(format)) => Self::Format { path, format: *format },
            _ => Self::Damaged { path, damage: fault.into() },
        }
    }
}

/// How a database is damaged.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file does not exist.
    #[error("it is missing")]
    Missing,
    /// The file does not exist, or it has no content.
    #[error("it is missing or empty")]
    MissingOrEmpty,
    /// The file should have the name of a database, but has something else.
    #[error("it does not name a database")]
    NamesNone,
    /// The content of the file cannot be read.
    #[error(transparent)]
    Content(#[from] Fault),
}

/// Why a job of the database failed. The database is unchanged, unless the member must stop.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// The database could not be read or written.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The system refused a thread or a file.
    #[error(transparent)]
    Io(Arc<io::Error>),
    /// A received snapshot is not later than the state of the database.
    #[error("the received snapshot ends at {received:?}, the database at {applied:?}")]
    NotLater {
        /// The last log entry in the received snapshot.
        received: Option<LogPosition>,
        /// The last log entry in the database.
        applied: Option<LogPosition>,
    },
    /// The member stopped before the job was done.
    #[error("the member is stopping")]
    Stopped,
}

impl From<io::Error> for JobError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A problem of the database that redb does not report itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the row {key:?} of table latest fails its checksum")]
    LatestRow { key: Vec<u8> },
    #[error("the row {revision:?} of table history fails its checksum")]
    HistoryRow { revision: Revision },
    #[error("history has no version at {0:?}")]
    NoVersion(Revision),
    #[error("the meta row is missing")]
    NoMeta,
    #[error("the row of users and roles fails its checksum")]
    AuthRow,
    #[error("a revision has the wrong width")]
    RevisionWidth,
    #[error("the key of a position does not fit its table")]
    PositionKey,
    #[error("another state was installed meanwhile")]
    Superseded,
    #[error(
        "No space left on device: the copy in {path} needs about {needed} bytes, {free} are free"
    )]
    NoSpaceForCopy { path: PathBuf, needed: u64, free: u64 },
    #[error("No space left on device: {free} bytes are free")]
    NoSpaceForPart { free: u64 },
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::storage(problem)
    }
}

/// Converts an error of redb or of the system to a fault of the state machine.
pub(super) fn fault(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::storage(error)
}
