//! The database under the state machine: flushed versions, indexed by key and by revision.
//!
//! ```text
//!   latest   key       -> newest version      current reads and ranges; one row for each key
//!   history  revision  -> version             watches, old revisions, hashes; append only
//!   count    first key -> keys, rows          number of keys in each block of `latest`
//!   lease, lease_key, alarm, member, meta     the small state
//! ```
//!
//! The thread of [`engine::Engine`] is the only writer. It merges each frozen memtable in one large
//! sorted transaction, together with the log position up to which the data is complete: a crash
//! leaves the database at the end of some flush, and the member replays the rest from the log. The
//! thread deletes compacted history in small transactions between flushes. A reader holds a
//! `snapshot::Snapshot` for one request.
//!
//! A member that lags behind the log gets a snapshot: one commit of the database, an
//! [`image::Image`], in [`part::Part`]s. The receiver writes them to a new file beside its own
//! ([`incoming::Incoming`]) and switches to that file.
//!
//! Every row has a checksum, because redb verifies its pages only when it repairs a file. A row
//! that fails its checksum stops the member.

mod compact;
mod count;
mod defrag;
pub mod engine;
mod file;
pub mod image;
pub mod incoming;
mod merge;
mod meta;
mod metrics;
mod paced;
pub mod part;
pub mod room;
mod row;
mod snapshot;
mod tables;
mod worker;

#[cfg(test)]
mod tests;

use quorate_core::Fault;

pub(crate) use file::exists;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file system reported an error.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: std::path::PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// redb reported an error.
    #[error("cannot use the database {path}: {reason}")]
    Database {
        /// The file.
        path: std::path::PathBuf,
        /// The error of redb.
        reason: String,
    },
    /// The database is damaged.
    #[error("the database {path} is damaged: {what}; restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// A description of the damage.
        what: String,
    },
}

/// Converts an error of redb to a fault of the state machine.
fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Storage(error.to_string())
}
