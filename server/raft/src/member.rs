//! A running member: consensus, state, log and database put together.

mod measure;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openraft::{Config, Raft, SnapshotPolicy};
use quorate_core::mvcc::View;
use quorate_core::store::Shared;
use quorate_core::tables::Tables;
use quorate_core::{Command, Fault, Refusal, Reply, Store, quota as costs};
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::{AlarmRequest, AlarmType};
use quorate_storage::OnFault;
use quorate_storage::base::engine::{self, Engine, Sizes};
use quorate_storage::data_dir::{DataDir, Identity};
use quorate_storage::wal::{self, LogState, Wal};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::compactor::{AutoCompaction, Compactor};
use crate::consensus::{BoxFuture, Consensus, OpenRaft, Peers, RaftStatus, Unavailable, follow};
use crate::flusher::{Checkpoint, FlushOptions, Flusher};
use crate::lessor::{Lessor, Renewal, TimeToLive};
use crate::log_store::LogStore;
use crate::metrics::Metrics;
use crate::network::NoPeers;
use crate::progress::Progress;
use crate::quota::Quota;
use crate::read::ReadBarrier;
use crate::state_machine::{Parts, StateMachine};
use crate::types::{Peer, decode_membership};
use measure::Proposal;

/// Proposals that may be under way at once; more are refused rather than queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Bytes of proposals that may be under way at once.
const PROPOSAL_BYTES_MAX: usize = 256 << 20;
/// Entries of the log kept although the database contains them, for members that lag behind.
const LOG_KEEP_ENTRIES: u64 = 5_000;

/// How a member is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interval between heartbeats.
    pub heartbeat: Duration,
    /// How long a member goes without hearing of a leader before it wants to lead.
    pub election_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// The space quota as configured; see [`Quota::new`].
    pub quota_bytes: i64,
    /// History that the leader gives up by itself.
    pub auto_compaction: Option<AutoCompaction>,
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

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The state machine declined.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// Too many requests are under way.
    #[error("too many requests are under way")]
    TooManyRequests,
    /// Nobody leads.
    #[error("no leader")]
    NoLeader,
    /// The leader changed; what became of the request is not known.
    #[error("the leader changed")]
    LeaderChanged,
    /// It took too long; what became of the request is not known.
    #[error("the request timed out")]
    Timeout,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopped,
}

impl From<Unavailable> for RequestError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::NotLeader { .. } => Self::NoLeader,
            Unavailable::LeaderChanged => Self::LeaderChanged,
            Unavailable::Stopped => Self::Stopped,
        }
    }
}

/// A member of the cluster as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has run.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; none until it has run.
    pub client_urls: Vec<String>,
    /// Whether it has no vote.
    pub is_learner: bool,
}

/// A running member; ended by [`Member::stop`].
pub struct Member {
    identity: Identity,
    options: Options,
    store: Arc<Shared>,
    consensus: Arc<dyn Consensus>,
    barrier: Arc<ReadBarrier>,
    lessor: Arc<Lessor>,
    progress: Progress,
    flusher: Flusher,
    quota: Arc<Quota>,
    metrics: Arc<Metrics>,
    proposals: AtomicUsize,
    proposal_bytes: AtomicUsize,
    peers: watch::Receiver<Peers>,
    tasks: TaskTracker,
    stop: CancellationToken,
    on_fault: OnFault,
    _data_dir: DataDir,
}

impl Member {
    /// Starts the member to which `data_dir` belongs. `founders` are the members of a cluster that
    /// does not exist yet; they are of no meaning once it does. `on_fault` is called when the
    /// member cannot go on; the process must then stop.
    pub async fn start(
        data_dir: DataDir,
        identity: Identity,
        founders: BTreeMap<u64, Peer>,
        options: Options,
        on_fault: OnFault,
    ) -> Result<Self, StartError> {
        // In this order, so that a database without a log is one that has lost it.
        let wal = Arc::new(Wal::open(&data_dir.wal(), &options.wal, on_fault.clone())?);
        let is_new = wal.state() == LogState::default();
        let opened = engine::Opened::open(&data_dir.db(), options.database.clone(), is_new)?;
        let restored = opened.restored().clone();
        let membership = decode_membership(&restored.membership).map_err(StartError::Damaged)?;
        let checkpoint =
            restored.applied.map(|applied| Checkpoint { applied, membership: membership.clone() });
        let store = Store::new(opened.base(), restored);
        let shared = store.shared().clone();
        let engine = Engine::start(opened, shared.clone(), on_fault.clone())
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let flush = options.flush.clone();
        let flusher =
            Flusher::new(flush, wal.clone(), engine, shared.clone(), checkpoint, on_fault.clone());
        let progress = Progress::new(store.applied().map_or(0, |at| at.index));
        let lessor = Arc::new(Lessor::new(shared.clone()));
        let quota = Arc::new(Quota::new(options.quota_bytes));
        let metrics = Arc::new(Metrics::new());
        metrics.alarms_changed(&shared);
        let machine = StateMachine::new(Parts {
            store,
            membership,
            flusher: flusher.clone(),
            lessor: lessor.clone(),
            progress: progress.clone(),
            quota: quota.clone(),
            metrics: metrics.clone(),
            on_fault: on_fault.clone(),
        });
        let raft = start_raft(identity.member_id, founders, &options, wal, machine).await?;
        let (status, receiver) = watch::channel(RaftStatus::default());
        let (peers, peers_receiver) = watch::channel(BTreeMap::new());
        let consensus: Arc<dyn Consensus> = Arc::new(OpenRaft::new(raft.clone(), receiver));
        let member = Self {
            identity,
            options,
            store: shared,
            consensus,
            barrier: Arc::new(ReadBarrier::new()),
            lessor,
            progress,
            flusher,
            quota,
            metrics,
            proposals: AtomicUsize::new(0),
            proposal_bytes: AtomicUsize::new(0),
            peers: peers_receiver,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            on_fault,
            _data_dir: data_dir,
        };
        member.tasks.spawn(follow(raft, status, peers));
        member.spawn_duties();
        Ok(member)
    }

    fn spawn_duties(&self) {
        let barrier = self.barrier.clone();
        let (consensus, progress) = (self.consensus.clone(), self.progress.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move { barrier.run(consensus, progress, stop).await });
        let duties = crate::duties::Duties {
            member_id: self.identity.member_id,
            consensus: self.consensus.clone(),
            lessor: self.lessor.clone(),
            flusher: self.flusher.clone(),
            metrics: self.metrics.clone(),
            lease_extension: self.options.election_timeout,
        };
        let duties = Arc::new(duties);
        let run = |duty: BoxFuture<'static, ()>| {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { stop.run_until_cancelled(duty).await });
        };
        if let Some(kept) = self.options.auto_compaction {
            let (consensus, store) = (self.consensus.clone(), self.store.clone());
            let compactor = Compactor::new(self.identity.member_id, consensus, store, kept);
            run(Box::pin(compactor.run()));
        }
        let (lead, expire, trim) = (duties.clone(), duties.clone(), duties.clone());
        run(Box::pin(async move { lead.follow_leadership().await }));
        run(Box::pin(async move { expire.expire_leases().await }));
        run(Box::pin(async move { trim.trim_log().await }));
        run(Box::pin(async move { duties.flush_old().await }));
    }

    /// Which member of which cluster this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The store as it is now, for one request.
    pub fn view(&self) -> View {
        self.store.view()
    }

    /// What readers share.
    pub fn store(&self) -> &Arc<Shared> {
        &self.store
    }

    /// How far the state machine has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where the member stands.
    pub fn status_now(&self) -> RaftStatus {
        self.consensus.status_now()
    }

    /// Where the member stands, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        self.consensus.status()
    }

    /// Index of the last log entry that this member knows to be committed.
    pub fn committed(&self) -> u64 {
        self.consensus.committed()
    }

    /// How long a request may take.
    pub fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// How long a member goes without hearing of a leader before it wants to lead.
    pub fn election_timeout(&self) -> Duration {
        self.options.election_timeout
    }

    /// The quota.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Sizes of the database, with what is still in memory counted as in use.
    pub fn sizes(&self) -> Sizes {
        let sizes = self.flusher.engine().sizes();
        let in_use = sizes.in_use + self.store.layer_bytes() as u64;
        Sizes { allocated: sizes.allocated.max(in_use), in_use }
    }

    /// The members of the cluster by id, ascending.
    pub fn members(&self) -> Vec<MemberInfo> {
        let peers = self.peers.borrow().clone();
        let members = peers.into_iter().map(|(id, (peer, is_learner))| {
            let attributes = self.store.tables(|tables: &Tables| tables.members.get(&id).cloned());
            let attributes = attributes.unwrap_or_default();
            MemberInfo {
                id,
                name: attributes.name,
                peer_urls: peer.peer_urls,
                client_urls: attributes.client_urls,
                is_learner,
            }
        });
        members.collect()
    }

    /// Proposes a command and waits for its answer.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may be carried out all the same.
    pub async fn propose(&self, command: &Command) -> Result<Reply, RequestError> {
        let payload = command.encode();
        let _permit = self.admit(payload.len())?;
        let proposal = Proposal::new(&self.metrics, command.kind());
        let until = (proposal.started() + self.options.request_timeout).into();
        let answer = tokio::time::timeout_at(until, self.consensus.propose(payload)).await;
        let answer = answer.map_err(|_| RequestError::Timeout)??;
        proposal.answered();
        match answer {
            Some(answer) => Ok(answer?),
            None => Ok(Reply::Done),
        }
    }

    /// Checks a command against the quota; raises the alarm when it does not fit any more.
    pub async fn check_quota(&self, command: &Command) -> Result<(), RequestError> {
        let cost = costs::cost(command);
        if cost == 0 || self.quota.allows(cost) {
            return Ok(());
        }
        let alarm = AlarmRequest {
            action: AlarmAction::Activate as i32,
            member_id: self.identity.member_id,
            alarm: AlarmType::Nospace as i32,
        };
        self.propose(&Command::Alarm(alarm)).await?;
        Err(Refusal::NoSpace.into())
    }

    /// Waits until a read sees everything that was acknowledged before this call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        self.linearize_since(Instant::now()).await
    }

    async fn linearize_since(&self, started: Instant) -> Result<(), RequestError> {
        let until = (started + self.options.request_timeout).into();
        match tokio::time::timeout_at(until, self.barrier.pass()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.metrics.read_indexes_failed.inc();
                Err(error.into())
            }
            Err(_) => {
                self.metrics.slow_read_indexes.inc();
                Err(RequestError::Timeout)
            }
        }
    }

    /// Gives a lease its full time again; waits first for what is committed, so that a lease just
    /// granted is known.
    pub async fn renew_lease(&self, id: i64) -> Result<Renewal, RequestError> {
        let known = self.store.tables(|tables: &Tables| tables.leases.contains_key(&id));
        if !known {
            self.linearize().await?;
        }
        let renewal = tokio::time::timeout(self.options.request_timeout, self.lessor.renew(id));
        let renewal = renewal.await.map_err(|_| RequestError::Timeout)?;
        if matches!(renewal, Renewal::Renewed(_)) {
            self.metrics.lease_renewed.inc();
        }
        Ok(renewal)
    }

    /// The time of a lease; `None` for one that does not exist.
    pub fn lease_time_to_live(&self, id: i64) -> Option<TimeToLive> {
        self.lessor.time_to_live(id)
    }

    /// Ids of all leases, those that end first in front.
    pub fn leases(&self) -> Vec<i64> {
        self.lessor.leases()
    }

    /// Waits until the history that a compaction at `revision` gave up is deleted.
    pub async fn history_deleted(&self, revision: i64) -> Result<(), RequestError> {
        self.flush().await;
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            sender.send(result).ok();
        });
        self.flusher.engine().when_deleted(revision, done);
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RequestError::Stopped),
        }
    }

    /// Rewrites the database without the space that is free in it. Reads and writes go on.
    pub async fn defragment(&self) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |result| {
            sender.send(result).ok();
        });
        self.flusher.engine().defragment(done);
        receiver.await.unwrap_or_else(|_| Err("the member is stopping".to_owned()))
    }

    /// Flushes everything that is applied, and waits for it.
    pub async fn flush(&self) {
        self.flusher.idle().await;
        self.consensus.flush().await;
        self.flusher.idle().await;
    }

    /// Ends the member because its state cannot be read: it could answer wrongly from here on.
    pub fn fail(&self, fault: &Fault) {
        (self.on_fault)(fault.to_string());
    }

    /// Stops the member: what was applied is flushed, so that the next start has nothing to replay.
    /// Requests that come after are refused.
    pub async fn stop(&self) {
        self.flush().await;
        self.stop.cancel();
        self.tasks.close();
        self.consensus.shutdown().await;
        self.tasks.wait().await;
    }

    /// Lets a proposal in, or refuses it because too many are under way.
    fn admit(&self, bytes: usize) -> Result<Permit<'_>, RequestError> {
        let permit = Permit { member: self, bytes };
        let count = self.proposals.fetch_add(1, Ordering::Relaxed);
        let before = self.proposal_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One proposal is let in whatever its size.
        if count >= PROPOSALS_MAX || (before > 0 && before + bytes > PROPOSAL_BYTES_MAX) {
            return Err(RequestError::TooManyRequests);
        }
        Ok(permit)
    }
}

/// A proposal under way.
struct Permit<'a> {
    member: &'a Member,
    bytes: usize,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.member.proposals.fetch_sub(1, Ordering::Relaxed);
        self.member.proposal_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

async fn start_raft(
    id: u64,
    founders: BTreeMap<u64, Peer>,
    options: &Options,
    wal: Arc<Wal>,
    machine: StateMachine,
) -> Result<Raft<crate::types::TypeConfig, StateMachine>, StartError> {
    let error = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    let config = raft_config(options).map_err(|e| error(&e))?;
    let store = LogStore::new(wal);
    let raft = Raft::new(id, Arc::new(config), NoPeers, store, machine).await;
    let raft = raft.map_err(|e| error(&e))?;
    if raft.is_initialized().await.map_err(|e| error(&e))? {
        // Without this a single voter would wait for its first tick.
        raft.trigger().elect(false).await.map_err(|e| error(&e))?;
    } else {
        raft.initialize(founders).await.map_err(|e| error(&e))?;
    }
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
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: half - half / 10,
        election_timeout_max: half + half / 10,
        max_payload_entries: 4096,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: LOG_KEEP_ENTRIES,
        replication_lag_threshold: u64::MAX,
        purge_batch_size: 1024,
        enable_pre_vote: Some(true),
        // A leader that lost power may not know what it had committed: it must be elected again.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
