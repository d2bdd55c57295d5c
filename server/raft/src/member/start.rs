//! Putting a member together.

use std::sync::Arc;

use openraft::Raft;
use quorate_core::store::Shared;
use quorate_storage::OnFault;
use quorate_storage::data_dir::{DataDir, Identity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::force::force;
use super::open::{Opened, open};
use super::options::{Options, Origin, StartError};
use crate::budget::Budget;
use crate::consensus::activity::Activity;
use crate::consensus::adapter::OpenRaft;
use crate::consensus::follower::Follower;
use crate::consensus::heard::Heard;
use crate::consensus::start::{Settings, start_raft};
use crate::consensus::state_machine::{self, StateMachine};
use crate::disk::quota::Quota;
use crate::ground::connection::Dial;
use crate::ground::consensus::RaftStatus;
use crate::ground::member::Peers;
use crate::ground::progress::Progress;
use crate::ground::waiters::Waiters;
use crate::leader::lessor::Lessor;
use crate::log::roster::peers_of;
use crate::log::types::TypeConfig;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::network::forward::Forwarder;
use crate::network::links::{Around, Links, Times};
use crate::peer::Inner;
use crate::port::guard::Refusals;
use crate::read::ReadBarrier;

/// A member that was put together, and its duties not begun.
pub(crate) struct Assembled {
    pub(crate) store: Arc<Shared>,
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) links: Arc<Links>,
    pub(crate) progress: Progress,
    pub(crate) quota: Arc<Quota>,
}

/// Opens what lies on disk and starts the raft protocol on it.
pub(crate) async fn assemble(
    data_dir: &DataDir,
    identity: Identity,
    origin: Origin,
    options: &Options,
    dial: Arc<dyn Dial>,
    on_fault: OnFault,
) -> Result<Assembled, StartError> {
    let opened = open_as(&origin, identity.member_id, data_dir, options, &on_fault).await?;
    let Opened { wal, store, membership, flusher } = opened;
    let shared = store.shared().clone();
    let progress = Progress::new(store.applied().map_or(0, |at| at.index));
    let lessor = Arc::new(Lessor::new(shared.clone()));
    let quota = Arc::new(Quota::new(options.quota_bytes));
    let metrics = metrics(identity.member_id, options, &shared);
    let (peers, peers_receiver) = watch::channel(Peers::new());
    let (members, members_receiver) = watch::channel(peers_of(&membership));
    let around = around(options, &shared, &peers_receiver, &metrics);
    let times = Times { heartbeat: options.heartbeat, patience: options.election_timeout };
    let links = Arc::new(Links::new(identity, dial, times, around));
    let waiters: Arc<Waiters> = Arc::default();
    let machine = StateMachine::new(state_machine::Parts {
        me: identity.member_id,
        waiters: waiters.clone(),
        store,
        membership,
        members,
        flusher: flusher.clone(),
        lessor: lessor.clone(),
        progress: progress.clone(),
        quota: quota.clone(),
        metrics: metrics.clone(),
        on_fault: on_fault.clone(),
    });
    let (founders, settings) = (origin.founders(), settings(options));
    let raft = start_raft(identity.member_id, founders, settings, wal, machine, links.clone());
    let raft = raft.await.map_err(StartError::Raft)?;
    let (status, status_receiver) = watch::channel(RaftStatus::default());
    let (heard, activity) = (Arc::new(Heard::new()), Arc::new(Activity::default()));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(follower(&raft, options, &heard, &activity, status, peers).run());
    let random = rand::random();
    let forwarder = Forwarder::new(links.clone(), waiters, random, tasks.clone(), stop.clone());
    let consensus = OpenRaft::new(raft.clone(), links.clone(), forwarder, status_receiver.clone());
    let (me, rules, counted) = (identity.member_id, options.membership, metrics.clone());
    let membership = Membership::new(me, raft.clone(), shared.clone(), activity, rules, counted);
    let inner = Arc::new(Inner {
        identity,
        version: options.version.clone(),
        raft,
        store: shared.clone(),
        peers: peers_receiver,
        members: members_receiver,
        status: status_receiver,
        heard,
        links: links.clone(),
        barrier: Arc::new(ReadBarrier::new()),
        lessor,
        progress: progress.clone(),
        flusher,
        membership,
        refusals: Refusals::default(),
        metrics,
        budget: links.budget().clone(),
        tasks,
        on_fault,
        stop,
    });
    Ok(Assembled { store: shared, consensus: Arc::new(consensus), inner, links, progress, quota })
}

/// Opens what lies on disk, and makes `me` the only member if that is asked for.
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

/// What connections to members look at, with the budget of this process.
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

fn settings(options: &Options) -> Settings {
    let Options { election_timeout, log_keep_entries, .. } = *options;
    Settings { election_timeout, log_keep_entries }
}

fn metrics(me: u64, options: &Options, store: &Shared) -> Arc<Metrics> {
    let metrics = Arc::new(Metrics::new(me, &options.integrity));
    metrics.alarms_changed(store);
    metrics
}

fn follower(
    raft: &Raft<TypeConfig, StateMachine>,
    options: &Options,
    heard: &Arc<Heard>,
    activity: &Arc<Activity>,
    status: watch::Sender<RaftStatus>,
    peers: watch::Sender<Peers>,
) -> Follower {
    let Options { heartbeat, election_timeout, .. } = *options;
    let (raft, heard, activity) = (raft.clone(), heard.clone(), activity.clone());
    Follower { raft, heard, activity, heartbeat, election_timeout, status, peers }
}
