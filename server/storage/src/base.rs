//! The database under the state machine: flushed versions, indexed by key and by revision.
//!
//! ```text
//!   latest   key       -> newest version      what reads and ranges want; one row for each key
//!   history  revision  -> version             watches, old revisions, hashes; append only
//!   count    first key -> keys, rows          how many keys lie in each block of `latest`
//!   lease, lease_key, alarm, member, meta     the small state
//! ```
//!
//! One thread, [`engine::Engine`]'s, is the only writer. It merges frozen layers in large sorted
//! transactions: each holds the data together with the log position up to which it is complete, so
//! that a crash leaves the database at the end of some flush, and the log replays the rest. It
//! deletes compacted history in small ones between flushes. Readers hold a `snapshot::Snapshot`
//! for one request.
//!
//! A member that lags behind the log is sent the database itself: one commit of it, an
//! [`image::Image`], in [`part::Part`]s, which the other side puts into a file beside its own
//! ([`incoming::Incoming`]) and goes on in that.
//!
//! Every row carries a checksum, because redb verifies its pages only when it repairs a file: a row
//! that fails it stops the member.

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
pub enum BaseError {
    /// The file system refuses.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// redb refuses.
    #[error("the database {path} cannot be used: {reason}")]
    Database {
        /// The file.
        path: std::path::PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The content makes no sense.
    #[error("the database {path} is damaged: {what}; restore the data directory from a backup")]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A failure of redb as a fault of the state machine.
fn fault(error: impl std::fmt::Display) -> Fault {
    Fault::Storage(error.to_string())
}
