//! The database under the state machine: flushed versions, indexed by key and by revision.
//!
//! ```text
//!   latest   key       -> newest version      current reads and ranges; one row for each key
//!   history  revision  -> version             watches, old revisions, hashes; append only
//!   count    first key -> keys, rows          number of keys in each block of `latest`
//!   lease, lease_key, alarm, member, meta     the small state; users and roles are in `meta`
//! ```
//!
//! The thread of [`engine::Engine`] is the only writer. It merges each frozen memtable in one large
//! sorted transaction, together with the log position up to which the data is complete: a crash
//! leaves the database at the end of some flush, and the member replays the rest from the log. The
//! thread deletes compacted history in small transactions between flushes. A reader holds a
//! `read_txn::ReadTxn` for one request.
//!
//! A member that lags behind the log gets a snapshot: one commit of the database, an
//! [`image::Image`], in [`part::Part`]s. The receiver writes them to a new file next to its own
//! ([`receive::SnapshotReceiver`]) and switches to that file.
//!
//! Every row has a checksum, because redb verifies its pages only when it repairs a file. A row
//! that fails its checksum stops the member.

mod auth;
mod compact;
mod copy;
mod count;
mod defrag;
pub mod engine;
mod error;
pub mod estimate;
mod file;
pub mod image;
mod merge;
mod meta;
mod metrics;
pub mod open;
mod paced;
pub mod part;
mod partial;
mod read_txn;
mod reason;
pub mod receive;
mod row;
mod sent;
mod state;
mod tables;
mod worker;

#[cfg(test)]
mod tests;

pub use error::{Damage, DatabaseError, JobError};
pub(crate) use file::exists;
pub use meta::MetaError;
pub use reason::end_reason;
