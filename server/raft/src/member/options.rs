//! The settings for starting a member.

use std::fmt::Debug;
use std::time::Duration;

use quorate_storage::db::engine;
use quorate_storage::wal;

use crate::disk::flusher::FlushOptions;
use crate::ground::checks::IntegrityChecks;
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
    /// A batch of applied requests, or a read, that takes longer is slow: it is counted and logged.
    pub slow_apply: Duration,
    /// When to flush memtables.
    pub flush: FlushOptions,
    /// Settings of the log.
    pub wal: wal::Options,
    /// Settings of the database.
    pub database: engine::Options,
}
