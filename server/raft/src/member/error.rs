//! The reasons for which a member cannot start.

use std::fmt::Debug;

use quorate_core::EndReason;
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

impl StartError {
    /// The reason for which the process ends after this error.
    pub fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Wal(error) => error.end_reason(),
            Self::Database(error) => error.end_reason(),
            Self::Damaged(_) => Some(EndReason::Damaged),
            Self::Raft(_) => None,
        }
    }
}
