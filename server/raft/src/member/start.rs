//! Assembling a member.

use std::sync::Arc;

use quorate_core::store::Shared;
use quorate_storage::OnFault;
use quorate_storage::data_dir::{DataDir, Identity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::StartError;
use super::force_new_cluster::force_new_cluster;
use super::member_list::MemberList;
use super::open::{Opened, open};
use super::options::Options;
use super::start_mode::StartMode;
use super::state::State;
use crate::budget::Budget;
use crate::consensus::adapter::{self, OpenRaft};
use crate::consensus::start::Settings;
use crate::consensus::state_machine::{self, StateMachine};
use crate::disk::quota::Quota;
use crate::ground::connection::Dial;
use crate::ground::logins::Logins;
use crate::ground::member::Peers;
use crate::ground::progress::Progress;
use crate::ground::waiters::Waiters;
use crate::leader::lessor::Lessor;
use crate::log::members::configuration_of;
use crate::metrics::Metrics;
use crate::network::forward::Forwarder;
use crate::network::peer_pool::{PeerPool, PoolContext, Times};

/// An assembled member whose background tasks are not started yet.
pub(super) struct Assembled {
    pub(super) identity: Identity,
    pub(super) state: State,
    pub(super) lessor: Arc<Lessor>,
    pub(super) logins: Arc<Logins>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) member_list: Arc<MemberList>,
    pub(super) pool: Arc<PeerPool>,
    pub(super) consensus: Arc<OpenRaft>,
    pub(super) tasks: TaskTracker,
    /// Cancels inbound and outbound peer streams.
    pub(super) closing_streams: CancellationToken,
}

/// Opens the data directory and starts the raft protocol on it.
pub(super) async fn assemble(
    data_dir: &DataDir,
    identity: Identity,
    mode: StartMode,
    options: &Options,
    dial: Arc<dyn Dial>,
    on_fault: OnFault,
) -> Result<Assembled, StartError> {
    let me = identity.member_id;
    let Opened { wal, store, membership, flusher } =
        open_as(&mode, me, data_dir, options, &on_fault).await?;
    let shared = store.shared().clone();
    let progress = Progress::new(store.applied().map_or(0, |at| at.index));
    let quota = Arc::new(Quota::new(options.quota_bytes));
    let lessor = Arc::new(Lessor::new(shared.clone()));
    let metrics = metrics(me, options, &shared);
    let (peers, peers_receiver) = watch::channel(Peers::new());
    let (members, members_receiver) = watch::channel(configuration_of(&membership));
    let context = pool_context(options, &shared, &peers_receiver, &metrics);
    let pool = Arc::new(PeerPool::new(identity, dial, times(options), context));
    let waiters: Arc<Waiters> = Arc::default();
    let logins = Arc::new(Logins::new(wal.state().last.map_or(0, |last| last.index)));
    let machine = StateMachine::new(state_machine::Parts {
        me,
        waiters: waiters.clone(),
        logins: logins.clone(),
        store,
        membership,
        members,
        flusher: flusher.clone(),
        lessor: lessor.clone(),
        progress: progress.clone(),
        quota: quota.clone(),
        metrics: metrics.clone(),
        on_fault,
    });
    let (tasks, closing_streams) = (TaskTracker::new(), CancellationToken::new());
    let stop = closing_streams.clone();
    let parts = adapter::Parts {
        me,
        founders: mode.founders(),
        settings: settings(options),
        wal,
        machine,
        pool: pool.clone(),
        forwarder: Forwarder::new(pool.clone(), waiters, rand::random(), tasks.clone(), stop),
        peers,
        tasks: tasks.clone(),
    };
    let consensus = Arc::new(OpenRaft::start(parts).await.map_err(StartError::Raft)?);
    let member_list = Arc::new(MemberList {
        me,
        store: shared.clone(),
        peers: peers_receiver,
        members: members_receiver,
    });
    let state = State { store: shared, progress, flusher, quota };
    Ok(Assembled {
        identity,
        state,
        lessor,
        logins,
        metrics,
        member_list,
        pool,
        consensus,
        tasks,
        closing_streams,
    })
}

/// Opens the data directory, and makes `me` the only member if `mode` demands it.
async fn open_as(
    mode: &StartMode,
    me: u64,
    data_dir: &DataDir,
    options: &Options,
    on_fault: &OnFault,
) -> Result<Opened, StartError> {
    let opened = open(data_dir, options, on_fault)?;
    if let StartMode::ForceNewCluster(peer_urls) = mode {
        let applied = opened.store.applied();
        force_new_cluster(&opened.wal, &opened.membership, applied, me, peer_urls).await?;
    }
    Ok(opened)
}

/// The context of connections to members, with the memory budget of this process.
fn pool_context(
    options: &Options,
    store: &Arc<Shared>,
    peers: &watch::Receiver<Peers>,
    metrics: &Arc<Metrics>,
) -> PoolContext {
    PoolContext {
        store: store.clone(),
        peers: peers.clone(),
        metrics: metrics.clone(),
        budget: Budget::new(options.memory_budget),
    }
}

/// The times of connections to members.
fn times(options: &Options) -> Times {
    Times { heartbeat: options.heartbeat, election_timeout: options.election_timeout }
}

/// The settings of the raft protocol.
pub(super) fn settings(options: &Options) -> Settings {
    let Options { heartbeat, election_timeout, log_keep_entries, .. } = *options;
    Settings { heartbeat, election_timeout, log_keep_entries }
}

fn metrics(me: u64, options: &Options, store: &Shared) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new(me, &options.integrity, options.slow_apply));
    metrics.alarms_changed(store);
    metrics
}
