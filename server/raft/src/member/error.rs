//! Why a member cannot start.

use std::fmt::Debug;

use quorate_storage::wal;

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be used.
    #[error("the write-ahead log cannot be used: {0}")]
    Wal(#[from] wal::RecoveryError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] quorate_storage::db::DatabaseError),
    /// The stored data contradict each other.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// The raft protocol cannot start.
    #[error("cannot start the raft protocol: {0}")]
    Raft(String),
}
