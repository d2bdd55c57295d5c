//! How a member is started.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use quorate_storage::base::engine;
use quorate_storage::wal;

use crate::disk::flusher::FlushOptions;
use crate::ground::checks::IntegrityChecks;
use crate::ground::member::Peer;
use crate::leader::compactor::AutoCompaction;
use crate::membership::rules::MembershipRules;

/// How a member is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interval between heartbeats.
    pub heartbeat: Duration,
    /// How long a member goes without hearing of a leader before it wants to lead.
    pub election_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Bytes that may be in flight; see [`Budget`](crate::Budget).
    pub memory_budget: usize,
    /// The space quota as configured; see [`Quota::new`](crate::Quota::new).
    pub quota_bytes: i64,
    /// How the members may change.
    pub membership: MembershipRules,
    /// Which comparisons with other members are made.
    pub integrity: IntegrityChecks,
    /// The version of etcd that this one says it is compatible with.
    pub version: String,
    /// History that the leader gives up by itself.
    pub auto_compaction: Option<AutoCompaction>,
    /// Entries of the log kept although the database contains them, for members that lag behind.
    pub log_keep_entries: u64,
    /// When layers are flushed.
    pub flush: FlushOptions,
    /// How the log is kept.
    pub wal: wal::Options,
    /// How the database is kept.
    pub database: engine::Options,
}

/// Why a member cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be used.
    #[error("the write-ahead log cannot be used: {0}")]
    Wal(#[from] wal::RecoveryError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] quorate_storage::base::BaseError),
    /// What is stored contradicts itself.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// The raft protocol cannot start.
    #[error("cannot start the raft protocol: {0}")]
    Raft(String),
}

/// How a member comes to its cluster. Of meaning at its first start only, but for the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It founds the cluster together with others, who are all told the same.
    Founded(BTreeMap<u64, Peer>),
    /// It was added to a cluster that exists, and waits to be called by its leader. At these URLs
    /// there may be other members.
    Joined(Vec<String>),
    /// Whatever the data directory says of others, it is from now on the only member. These are
    /// its peer URLs if the data directory does not say them.
    Forced(Vec<String>),
}

impl Origin {
    /// The members of a cluster that is founded.
    pub(super) fn founders(self) -> Option<BTreeMap<u64, Peer>> {
        match self {
            Self::Founded(founders) => Some(founders),
            Self::Joined(_) | Self::Forced(_) => None,
        }
    }
}
