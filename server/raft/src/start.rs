//! Putting a member together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::entry::EntryPayload;
use openraft::{Config, Raft, SnapshotPolicy};
use quorate_core::store::Shared;
use quorate_core::{LogPosition, Store};
use quorate_storage::OnFault;
use quorate_storage::base::engine::{self, Engine};
use quorate_storage::data_dir::{DataDir, Identity};
use quorate_storage::wal::{self, LogState, Wal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::compactor::AutoCompaction;
use crate::consensus::{OpenRaft, RaftStatus};
use crate::flusher::{FlushOptions, Flusher};
use crate::integrity::IntegrityChecks;
use crate::leadership::{Activity, Follower, Heard, Peers, peers_of};
use crate::lessor::Lessor;
use crate::log_store::LogStore;
use crate::membership::{Membership, MembershipRules};
use crate::metrics::Metrics;
use crate::network::Dial;
use crate::network::client::Factory;
use crate::network::forward::{Forwarder, Waiters};
use crate::network::guard::Refusals;
use crate::network::links::{Around, Links, Times};
use crate::peer::Inner;
use crate::progress::Progress;
use crate::quota::Quota;
use crate::read::ReadBarrier;
use crate::state_machine::{Parts, StateMachine};
use crate::types::{
    self, Membership as Members, Peer, StoredMembership, TypeConfig, Vote, decode_membership,
    decode_vote, encode_vote,
};

/// Bytes of the log read at once when it is searched.
const READ_BYTES_MAX: usize = 4 << 20;
/// Time for a snapshot to arrive; it ends sooner when the connection does.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(3600);

/// Orders to apply entries that may wait for the state machine. With more, openraft would do
/// nothing else until one is done, and answer no heartbeat. Each is a range of the log, and small.
const APPLIES_MAX: u64 = 1 << 20;

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
    /// The space quota as configured; see [`Quota::new`].
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

/// A member that was put together, and its duties not begun.
pub(crate) struct Assembled {
    pub(crate) store: Arc<Shared>,
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) inner: Arc<Inner>,
    pub(crate) links: Arc<Links>,
    pub(crate) progress: Progress,
    pub(crate) quota: Arc<Quota>,
}

/// What lies on disk, opened.
struct Opened {
    wal: Arc<Wal>,
    store: Store,
    membership: StoredMembership,
    flusher: Flusher,
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
    let Opened { wal, store, membership, flusher } = open(data_dir, options, &on_fault)?;
    if let Origin::Forced(peer_urls) = &origin {
        force(&wal, &membership, store.applied(), identity.member_id, peer_urls).await?;
    }
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
    let machine = StateMachine::new(Parts {
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
    let raft = start_raft(identity.member_id, origin, options, wal, machine, links.clone()).await?;
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

fn open(data_dir: &DataDir, options: &Options, on_fault: &OnFault) -> Result<Opened, StartError> {
    // In this order, so that a database without a log is one that has lost it.
    let wal = Arc::new(Wal::open(&data_dir.wal(), &options.wal, on_fault.clone())?);
    let is_new = wal.state() == LogState::default();
    let opened = engine::Opened::open(&data_dir.db(), options.database.clone(), is_new)?;
    let restored = opened.restored().clone();
    let membership = decode_membership(&restored.membership).map_err(StartError::Damaged)?;
    forget_outlived(&wal, restored.applied);
    let store = Store::new(opened.base(), restored);
    let shared = store.shared().clone();
    let engine = Engine::start(opened, shared.clone(), on_fault.clone())
        .map_err(|error| StartError::Raft(error.to_string()))?;
    let flush = options.flush.clone();
    let flusher = Flusher::new(flush, wal.clone(), engine, shared, on_fault.clone());
    Ok(Opened { wal, store, membership, flusher })
}

/// Has the log forget what it has instead of what the database has: the member ended after a
/// snapshot was taken into use, and before the log was told. What the log has then was never
/// committed, whatever its term: a leader that nobody followed may have had a higher one than that
/// of the last entry in the snapshot.
fn forget_outlived(wal: &Wal, applied: Option<LogPosition>) {
    let Some(applied) = applied else { return };
    let LogState { purged, last, .. } = wal.state();
    let is_kept = purged.is_some_and(|purged| purged.index >= applied.index)
        || wal.term(applied.index) == Some(applied.term);
    if is_kept || last.is_none() {
        return;
    }
    tracing::info!(index = applied.index, "the log is taken on to where the database is");
    // Whether it is durable does not matter: the next start would do it again.
    wal.truncate_after(purged, Box::new(drop));
    wal.purge(applied, Box::new(drop));
}

/// Makes `id` the only member by an entry behind all others. `peer_urls` are its own if it does not
/// find itself among the members.
///
/// What is in the log stays: the members that are gone may have acknowledged it, even if this one
/// was not told so.
async fn force(
    wal: &Wal,
    stored: &StoredMembership,
    applied: Option<LogPosition>,
    id: u64,
    peer_urls: &[String],
) -> Result<(), StartError> {
    let mut last = wal.state().last;
    if let Some(applied) = applied.filter(|applied| Some(*applied) > last) {
        // The database has what the log lost.
        durable(|done| wal.purge(applied, done)).await?;
        last = Some(applied);
    }
    let vote = wal.state().vote.map(|vote| decode_vote(&vote)).transpose();
    let vote = vote.map_err(StartError::Damaged)?;
    // A term of its own: nothing that the others may still write has the same position.
    let voted = vote.map_or(0, |vote| vote.leader_id.term);
    let term = voted.max(last.map_or(0, |last| last.term)) + 1;
    let at = LogPosition { term, index: last.map_or(0, |last| last.index + 1) };
    let known = last_membership(wal, stored)?.get_node(&id).cloned();
    let mut peer = known.unwrap_or_else(|| Peer { peer_urls: peer_urls.into(), is_learner: false });
    peer.is_learner = false;
    tracing::warn!(
        index = at.index,
        peer_urls = peer.peer_urls.join(","),
        "this member is from now on the only one of its cluster"
    );
    let vote = encode_vote(&Vote::new(term, id));
    durable(|done| wal.save_vote(vote, done)).await?;
    let entry = types::only_member(at, id, &peer);
    durable(|done| wal.append(std::iter::once(entry), done)).await
}

/// The last membership in the log, or `stored` if there is none in it.
fn last_membership(wal: &Wal, stored: &StoredMembership) -> Result<Members, StartError> {
    let mut membership = stored.membership().clone();
    let mut next = wal.state().purged.map_or(0, |purged| purged.index + 1);
    loop {
        let entries = wal.read(next, u64::MAX, READ_BYTES_MAX);
        let entries = entries.map_err(|error| StartError::Damaged(error.to_string()))?;
        if entries.is_empty() {
            return Ok(membership);
        }
        next += entries.len() as u64;
        for entry in entries {
            let entry = types::from_wal(entry).map_err(StartError::Damaged)?;
            if let EntryPayload::Membership(later) = entry.payload {
                membership = later;
            }
        }
    }
}

/// Makes a change of the log and waits until it is durable.
async fn durable(change: impl FnOnce(wal::Done)) -> Result<(), StartError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    change(Box::new(move |result: std::io::Result<()>| {
        sender.send(result.map_err(|error| error.to_string())).ok();
    }));
    let written = receiver.await.unwrap_or_else(|_| Err("the log was closed".to_owned()));
    written.map_err(StartError::Raft)
}

async fn start_raft(
    id: u64,
    origin: Origin,
    options: &Options,
    wal: Arc<Wal>,
    machine: StateMachine,
    links: Arc<Links>,
) -> Result<Raft<TypeConfig, StateMachine>, StartError> {
    let error = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let config = raft_config(options).map_err(|e| error(&e))?;
    let store = LogStore::new(wal);
    let raft = Raft::new(id, Arc::new(config), Factory(links), store, machine).await;
    let raft = raft.map_err(|e| error(&e))?;
    if raft.is_initialized().await.map_err(|e| error(&e))? {
        if raft.voter_ids().eq([id]) {
            // Without this a single voter would wait for its first tick.
            raft.trigger().elect(false).await.map_err(|e| error(&e))?;
            // Whether it came in time does not matter: the next tick elects again.
            raft.wait(Some(options.election_timeout)).current_leader(id, "alone").await.ok();
        }
    } else if let Origin::Founded(founders) = origin {
        raft.initialize(founders).await.map_err(|e| error(&e))?;
    }
    raft.runtime_config().elect(true);
    Ok(raft)
}

/// openraft's settings. A member that hears no leader for the lease and then for an election
/// timeout wants to lead; openraft takes the longest election timeout for the lease, so half of the
/// configured time is given to each.
fn raft_config(options: &Options) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let half = millis(options.election_timeout) / 2;
    Config {
        cluster_name: "quorate".to_owned(),
        // How long a heartbeat may be under way: what comes later counts for nothing. They are
        // sent more often than that, by `leadership::beat`.
        heartbeat_interval: half * 6 / 10,
        enable_heartbeat: false,
        election_timeout_min: half - half / 10,
        election_timeout_max: half + half / 10,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.log_keep_entries,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_snapshot_outlived_leaves_the_log() {
        let at = |term, index| LogPosition { term, index };
        let cases = [
            (at(4, 10), at(4, 10), "a tail of a higher term that ends before the snapshot"),
            (at(4, 2), at(4, 2), "a tail of another term at the snapshot's end"),
            (at(5, 2), at(5, 3), "what follows the database"),
        ];
        for (applied, last, case) in cases {
            let dir = tempfile::tempdir().unwrap();
            let fault: OnFault = Arc::new(|fault| panic!("{fault}"));
            let open = || Wal::open(dir.path(), &wal::Options::default(), fault.clone()).unwrap();
            let log = open();
            let entries = (0..4).map(|index| wal::Entry {
                position: at(5, index),
                flavour: 0,
                payload: Vec::new().into(),
            });
            durable(|done| log.append(entries, done)).await.unwrap();
            forget_outlived(&log, Some(applied));
            assert_eq!(log.state().last, Some(last), "{case}");
            // Nothing else is written behind it.
            durable(|done| log.sync(done)).await.unwrap();
            drop(log);
            let log = open();
            assert_eq!(log.state().last, Some(last), "{case}");
            let next = wal::Entry {
                position: at(6, last.index + 1),
                flavour: 0,
                payload: Vec::new().into(),
            };
            durable(|done| log.append([next], done)).await.unwrap();
            assert_eq!(log.state().last, Some(at(6, last.index + 1)), "{case}");
        }
    }
}
