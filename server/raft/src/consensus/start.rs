//! Starting the raft protocol.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, Raft, SnapshotPolicy};
use quorate_storage::wal::Wal;

use super::state_machine::StateMachine;
use crate::ground::member::Peer;
use crate::log::store::LogStore;
use crate::log::types::TypeConfig;
use crate::network::client::Factory;
use crate::network::links::Links;

/// Time for a snapshot to arrive; it ends sooner when the connection does.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(3600);

/// Orders to apply entries that may wait for the state machine. With more, openraft would do
/// nothing else until one is done, and answer no heartbeat. Each is a range of the log, and small.
const APPLIES_MAX: u64 = 1 << 20;

/// What the protocol is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Interval between heartbeats.
    pub(crate) heartbeat: Duration,
    /// How long a member goes without hearing of a leader before it wants to lead.
    pub(crate) election_timeout: Duration,
    /// Entries of the log kept although the database contains them.
    pub(crate) log_keep_entries: u64,
}

/// Starts the protocol at member `id`. A cluster that is founded has these `founders`.
///
/// # Errors
/// Why it cannot start, for people.
pub(super) async fn start_raft(
    id: u64,
    founders: Option<BTreeMap<u64, Peer>>,
    settings: Settings,
    wal: Arc<Wal>,
    machine: StateMachine,
    links: Arc<Links>,
) -> Result<Raft<TypeConfig, StateMachine>, String> {
    let error = |error: &dyn std::fmt::Display| error.to_string();
    let config = raft_config(settings).map_err(|e| error(&e))?;
    let store = LogStore::new(wal);
    let raft = Raft::new(id, Arc::new(config), Factory(links), store, machine).await;
    let raft = raft.map_err(|e| error(&e))?;
    if raft.is_initialized().await.map_err(|e| error(&e))? {
        if raft.voter_ids().eq([id]) {
            // Without this a single voter would wait for its first tick.
            raft.trigger().elect(false).await.map_err(|e| error(&e))?;
            // Whether it came in time does not matter: the next tick elects again.
            raft.wait(Some(settings.election_timeout)).current_leader(id, "alone").await.ok();
        }
    } else if let Some(founders) = founders {
        raft.initialize(founders).await.map_err(|e| error(&e))?;
    }
    raft.runtime_config().elect(true);
    Ok(raft)
}

/// openraft's settings. A member that hears no leader for the lease and then for an election
/// timeout wants to lead; openraft takes the longest election timeout for the lease, so half of the
/// configured time is given to each.
fn raft_config(settings: Settings) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let half = millis(settings.election_timeout) / 2;
    Config {
        cluster_name: "quorate".to_owned(),
        // How long a heartbeat may be under way: what comes later counts for nothing. They are
        // sent more often than that, by `consensus::beat`.
        heartbeat_interval: half * 6 / 10,
        enable_heartbeat: false,
        election_timeout_min: half - half / 10,
        election_timeout_max: half + half / 10,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: settings.log_keep_entries,
        replication_lag_threshold: u64::MAX,
        purge_batch_size: 1024,
        install_snapshot_timeout: millis(SNAPSHOT_WITHIN),
        state_machine_channel_size: Some(APPLIES_MAX),
        enable_pre_vote: Some(true),
        // Not before it is started: a tick must not elect a single voter a second time.
        enable_elect: false,
        // A leader that lost power may not know what it had committed: it must be elected again.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
