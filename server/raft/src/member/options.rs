//! The settings for starting a member.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use quorate_storage::db::engine;
use quorate_storage::wal;

use crate::disk::flusher::FlushOptions;
use crate::ground::checks::IntegrityChecks;
use crate::ground::member::Peer;
use crate::leader::compactor::AutoCompaction;
use crate::membership::rules::MembershipRules;

/// The settings of a member.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interval between heartbeats.
    pub heartbeat: Duration,
    /// Time without a leader after which a member starts an election.
    pub election_timeout: Duration,
    /// The timeout of a request.
    pub request_timeout: Duration,
    /// The memory budget in bytes; see [`Budget`](crate::Budget).
    pub memory_budget: usize,
    /// The space quota as configured; see [`Quota::new`](crate::Quota::new).
    pub quota_bytes: i64,
    /// The rules for membership changes.
    pub membership: MembershipRules,
    /// The enabled checks against other members' data.
    pub integrity: IntegrityChecks,
    /// The version of etcd that this member reports.
    pub version: String,
    /// The history that automatic compaction keeps; `None` for no automatic compaction.
    pub auto_compaction: Option<AutoCompaction>,
    /// Entries kept in the log although the database contains them, for lagging members.
    pub log_keep_entries: u64,
    /// When to flush memtables.
    pub flush: FlushOptions,
    /// Settings of the log.
    pub wal: wal::Options,
    /// Settings of the database.
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
    Database(#[from] quorate_storage::db::DatabaseError),
    /// The stored data contradict each other.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// The raft protocol cannot start.
    #[error("cannot start the raft protocol: {0}")]
    Raft(String),
}

/// How a member gets into its cluster. Only [`Origin::Forced`] has an effect after the first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It founds the cluster with these members, which are all started with the same list.
    Founded(BTreeMap<u64, Peer>),
    /// It was added to an existing cluster and waits for a call from the leader. Other members may
    /// be at these peer URLs.
    Joined(Vec<String>),
    /// It becomes the only member, whatever members the data directory names. These are its peer
    /// URLs if the data directory contains none.
    Forced(Vec<String>),
}

impl Origin {
    /// The members of a new cluster.
    pub(super) fn founders(self) -> Option<BTreeMap<u64, Peer>> {
        match self {
            Self::Founded(founders) => Some(founders),
            Self::Joined(_) | Self::Forced(_) => None,
        }
    }
}
