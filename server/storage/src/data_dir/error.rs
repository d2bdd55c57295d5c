//! The reasons for which a data directory cannot be used.

use std::io;
use std::path::PathBuf;

use crate::format::OtherFormat;

/// Why a data directory cannot be used. Each text names the directory, and the fix if one is known.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system reported an error.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Other users could read or replace the data.
    #[error(
        "other users can {can} the data directory {path}, which has the permissions {mode:03o}; \
         this process cannot change them, because it runs as user {user} and the directory \
         belongs to user {owner}; run `chmod 700 {path}`"
    )]
    Permissions {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The access that the permissions give to other users.
        can: &'static str,
        /// User id of the directory's owner.
        owner: u32,
        /// User id of this process.
        user: u32,
    },
    /// Another process uses the directory.
    #[error("the data directory {path} is in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is etcd's.
    #[error(
        "the data directory {path} was written by etcd; Quorate cannot read it in place: \
         set --data-dir to another directory"
    )]
    Etcd {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has files of another program.
    #[error(
        "the data directory {path} has {what}, which is not Quorate's; \
         set --data-dir to another directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The unknown file.
        what: String,
    },
    /// The directory has a database but no log.
    #[error(
        "the write-ahead log {path} is missing, but there is a database; restore the data \
         directory from a backup"
    )]
    LogMissing {
        /// Path of the missing log.
        path: PathBuf,
    },
    /// Another process uses the log's directory.
    #[error("the directory {path} of the write-ahead log is in use by another process")]
    LogLocked {
        /// The directory.
        path: PathBuf,
    },
    /// The log has a directory of its own, but is not there.
    #[error(
        "the write-ahead log is not in {path}{elsewhere}, but there is a database; mount the \
         log's disk, set --wal-dir to the log's directory, or restore both from a backup"
    )]
    LogNotFound {
        /// The directory in which it should be.
        path: PathBuf,
        /// The other place in which it was looked for, in words.
        elsewhere: String,
    },
    /// The log is in another directory than the one for this start.
    #[error(
        "there is a write-ahead log of this member in {found}, but this start uses {wanted}; \
         {fix}, or move the log's files to {wanted}"
    )]
    LogElsewhere {
        /// The directory that has a log.
        found: PathBuf,
        /// The directory for this start.
        wanted: PathBuf,
        /// The other remedy, in words.
        fix: String,
    },
    /// The directory of the log has files that are not of this member's log.
    #[error(
        "{path} has files that are not of this member's write-ahead log; set --wal-dir to another \
         directory, or --data-dir to the one that belongs to this log"
    )]
    LogOfOther {
        /// The directory.
        path: PathBuf,
    },
    /// The directory of the log is where the data directory has other files.
    #[error("--wal-dir cannot be in {member}: set it to a directory outside of it")]
    LogInside {
        /// The folder `member` of the data directory.
        member: PathBuf,
    },
    /// Another version of Quorate wrote the directory.
    #[error("cannot use the data directory {path}: {format}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// The identity cannot be read.
    #[error("{path} is damaged ({what}); restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// A description of the damage.
        what: &'static str,
    },
}
