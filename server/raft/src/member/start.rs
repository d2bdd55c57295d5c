//! Assembling a member.

use std::sync::Arc;

use quorate_core::store::Shared;
use quorate_storage::OnFault;
use quorate_storage::data_dir::{DataDir, Identity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::force::force;
use super::open::{Opened, open};
use super::options::{Options, Origin, StartError};
use super::roster::Roster;
use super::state::State;
use crate::budget::Budget;
use crate::consensus::adapter::{self, OpenRaft};
use crate::consensus::start::Settings;
use crate::consensus::state_machine::{self, StateMachine};
use crate::disk::quota::Quota;
use crate::ground::connection::Dial;
use crate::ground::member::Peers;
use crate::ground::progress::Progress;
use crate::ground::waiters::Waiters;
use crate::leader::lessor::Lessor;
use crate::log::roster::peers_of;
use crate::metrics::Metrics;
use crate::network::forward::Forwarder;
use crate::network::links::{Around, Links, Times};

/// An assembled member whose background tasks are not started yet.
pub(super) struct Assembled {
    pub(super) identity: Identity,
    pub(super) state: State,
    pub(super) lessor: Arc<Lessor>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) roster: Arc<Roster>,
    pub(super) links: Arc<Links>,
    pub(super) consensus: Arc<OpenRaft>,
    pub(super) tasks: TaskTracker,
    /// Cancels inbound and outbound peer streams.
    pub(super) parting: CancellationToken,
}

/// Opens the data directory and starts the raft protocol on it.
pub(super) async fn assemble(
    data_dir: &DataDir,
    identity: Identity,
    origin: Origin,
    options: &Options,
    dial: Arc<dyn Dial>,
    on_fault: OnFault,
) -> Result<Assembled, StartError> {
    let me = identity.member_id;
    let Opened { wal, store, membership, flusher } =
        open_as(&origin, me, data_dir, options, &on_fault).await?;
    let shared = store.shared().clone();
    let progress = Progress::new(store.applied().map_or(0, |at| at.index));
    let quota = Arc::new(Quota::new(options.quota_bytes));
    let lessor = Arc::new(Lessor::new(shared.clone()));
    let metrics = metrics(me, options, &shared);
    let (peers, peers_receiver) = watch::channel(Peers::new());
    let (members, members_receiver) = watch::channel(peers_of(&membership));
    let around = around(options, &shared, &peers_receiver, &metrics);
    let times = Times { heartbeat: options.heartbeat, patience: options.election_timeout };
    let links = Arc::new(Links::new(identity, dial, times, around));
    let waiters: Arc<Waiters> = Arc::default();
    let machine = StateMachine::new(state_machine::Parts {
        me,
        waiters: waiters.clone(),
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
    let (tasks, parting) = (TaskTracker::new(), CancellationToken::new());
    let (first, stop) = (rand::random(), parting.clone());
    let parts = adapter::Parts {
        me,
        founders: origin.founders(),
        settings: settings(options),
        wal,
        machine,
        links: links.clone(),
        forwarder: Forwarder::new(links.clone(), waiters, first, tasks.clone(), stop),
        peers,
        tasks: tasks.clone(),
    };
    let consensus = Arc::new(OpenRaft::start(parts).await.map_err(StartError::Raft)?);
    let (peers, members) = (peers_receiver, members_receiver);
    let roster = Arc::new(Roster { me, store: shared.clone(), peers, members });
    let state = State { store: shared, progress, flusher, quota };
    Ok(Assembled { identity, state, lessor, metrics, roster, links, consensus, tasks, parting })
}

/// Opens the data directory, and makes `me` the only member if `origin` demands it.
async fn open_as(
    origin: &Origin,
    me: u64,
    data_dir: &DataDir,
    options: &Options,
    on_fault: &OnFault,
) -> Result<Opened, StartError> {
    let opened = open(data_dir, options, on_fault)?;
    if let Origin::Forced(peer_urls) = origin {
        let (wal, applied) = (&opened.wal, opened.store.applied());
        force(wal, &opened.membership, applied, me, peer_urls).await?;
    }
    Ok(opened)
}

/// The context of connections to members, with the memory budget of this process.
fn around(
    options: &Options,
    store: &Arc<Shared>,
    peers: &watch::Receiver<Peers>,
    metrics: &Arc<Metrics>,
) -> Around {
    Around {
        store: store.clone(),
        peers: peers.clone(),
        metrics: metrics.clone(),
        budget: Budget::new(options.memory_budget),
    }
}

/// The settings of the raft protocol.
pub(super) fn settings(options: &Options) -> Settings {
    let Options { heartbeat, election_timeout, log_keep_entries, .. } = *options;
    Settings { heartbeat, election_timeout, log_keep_entries }
}

fn metrics(me: u64, options: &Options, store: &Shared) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new(me, &options.integrity));
    metrics.alarms_changed(store);
    metrics
}
