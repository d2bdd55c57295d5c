//! Configures and starts openraft.

#[cfg(test)]
mod tests;

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
use crate::network::peer_pool::PeerPool;

/// openraft's timeout of a snapshot transfer. It has no effect: [`crate::network`] gives up a
/// transfer that makes no progress, and continues one over several connections.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(3600);

/// Maximum number of orders in the queue of the state machine. An order says which range of the log
/// to apply, so it is small. While the queue is full, openraft blocks, and answers no heartbeats
/// until an order is done.
const APPLIES_MAX: u64 = 1 << 20;

/// The settings of the raft protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Interval between heartbeats.
    pub(crate) heartbeat: Duration,
    /// Time without a leader after which a member starts an election.
    pub(crate) election_timeout: Duration,
    /// Number of entries that the log keeps although the database contains them.
    pub(crate) log_keep_entries: u64,
}

/// Starts the protocol on member `id`. A new cluster consists of `founders`.
///
/// # Errors
/// The reason as text for the operator.
pub(super) async fn start_raft(
    id: u64,
    founders: Option<BTreeMap<u64, Peer>>,
    settings: Settings,
    wal: Arc<Wal>,
    machine: StateMachine,
    pool: Arc<PeerPool>,
) -> Result<Raft<TypeConfig, StateMachine>, String> {
    let error = |error: &dyn std::fmt::Display| error.to_string();
    let config = raft_config(settings).map_err(|e| error(&e))?;
    let store = LogStore::new(wal);
    let raft = Raft::new(id, Arc::new(config), Factory(pool), store, machine).await;
    let raft = raft.map_err(|e| error(&e))?;
    if raft.is_initialized().await.map_err(|e| error(&e))? {
        if raft.voter_ids().eq([id]) {
            // Without this order, a single voter would wait for openraft's first tick.
            raft.trigger().elect(false).await.map_err(|e| error(&e))?;
            // A timeout does not matter: the next tick starts another election.
            raft.wait(Some(settings.election_timeout)).current_leader(id, "alone").await.ok();
        }
    } else if let Some(founders) = founders {
        raft.initialize(founders).await.map_err(|e| error(&e))?;
    }
    raft.runtime_config().elect(true);
    Ok(raft)
}

/// openraft's settings. A member that hears no leader waits for openraft's lease, and after that
/// for openraft's election timeout, before it starts an election. The lease is as long as
/// openraft's longest election timeout, so each of the two waits gets half of the configured time.
fn raft_config(settings: Settings) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let half = millis(settings.election_timeout) / 2;
    Config {
        cluster_name: "quorate".to_owned(),
        // This is only the timeout of a heartbeat: later replies do not count.
        // `consensus::heartbeat` sends the heartbeats, at the interval `settings.heartbeat`.
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
        // Elections are off until the start is complete: a tick must not elect a single voter a
        // second time.
        enable_elect: false,
        // After a power loss, a former leader may not know which entries it had committed, so it
        // must not lead again without an election.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
