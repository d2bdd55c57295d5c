//! A running member: consensus, state, log and database put together.

mod ask;
mod force;
mod measure;
mod open;
pub(crate) mod options;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use measure::Proposal;
use quorate_core::mvcc::View;
use quorate_core::store::Shared;
use quorate_core::tables::Tables;
use quorate_core::{Command, Fault, Refusal, Reply, quota as costs};
use quorate_proto::etcdserverpb::AlarmType;
use quorate_storage::OnFault;
use quorate_storage::base::engine::Sizes;
use quorate_storage::data_dir::{DataDir, Identity};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::consensus::beat::beat;
use crate::disk::claims::Claim;
use crate::disk::flusher::Flusher;
use crate::disk::quota::{self, Quota};
use crate::disk::room;
use crate::ground::connection::{Dial, Serve};
use crate::ground::consensus::{BoxFuture, Consensus, RaftStatus};
use crate::ground::exclusion::Exclusion;
use crate::ground::member::{MemberInfo, Peer};
use crate::ground::progress::Progress;
use crate::ground::request::RequestError;
use crate::leader::compactor::Compactor;
use crate::leader::duties::Duties;
use crate::leader::integrity::{Inconsistent, Integrity};
use crate::member::options::{Options, Origin, StartError};
use crate::member::start::assemble;
use crate::metrics::Metrics;
use crate::network::exclusion;
use crate::network::lend::lend;
use crate::network::links::Links;
use crate::network::probe::probe;
use crate::peer::Inner;
use crate::port::entrance::PeerPort;
use crate::port::loan::Loan;

/// Proposals that may be under way at once; more are refused rather than queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Pause before it is looked at again whether a flush at the end waits for room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of proposals that may be under way at once.
const PROPOSAL_BYTES_MAX: usize = 256 << 20;

/// A running member; ended by [`Member::stop`].
pub struct Member {
    identity: Identity,
    options: Options,
    store: Arc<Shared>,
    consensus: Arc<dyn Consensus>,
    inner: Arc<Inner>,
    links: Arc<Links>,
    progress: Progress,
    flusher: Flusher,
    quota: Arc<Quota>,
    budget: Budget,
    metrics: Arc<Metrics>,
    proposals: AtomicUsize,
    proposal_bytes: AtomicUsize,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// URLs at which there may be members, for one that has yet to hear of them.
    acquaintances: Vec<String>,
    on_fault: OnFault,
    _data_dir: DataDir,
}

impl Member {
    /// Starts the member to which `data_dir` belongs. `dial` reaches the others. `on_fault` is
    /// called when the member cannot go on; the process must then stop.
    pub async fn start(
        data_dir: DataDir,
        identity: Identity,
        origin: Origin,
        options: Options,
        dial: Arc<dyn Dial>,
        on_fault: OnFault,
    ) -> Result<Self, StartError> {
        let fault = on_fault.clone();
        let acquaintances = match &origin {
            Origin::Joined(urls) => urls.clone(),
            Origin::Founded(_) | Origin::Forced(_) => Vec::new(),
        };
        let parts = assemble(&data_dir, identity, origin, &options, dial, fault).await?;
        let inner = parts.inner;
        let member = Self {
            identity,
            options,
            store: parts.store,
            consensus: parts.consensus,
            links: parts.links,
            progress: parts.progress,
            flusher: inner.flusher.clone(),
            quota: parts.quota,
            budget: inner.budget.clone(),
            metrics: inner.metrics.clone(),
            proposals: AtomicUsize::new(0),
            proposal_bytes: AtomicUsize::new(0),
            tasks: inner.tasks.clone(),
            stop: CancellationToken::new(),
            acquaintances,
            inner,
            on_fault,
            _data_dir: data_dir,
        };
        member.spawn_duties();
        Ok(member)
    }

    /// What other members call, to be served where they reach this one.
    pub fn peer_port(&self) -> PeerPort {
        PeerPort::new(self.inner.clone())
    }

    /// Lends connections to the other members, to be served by `serve`, until this one parts.
    pub fn lend(&self, serve: Arc<dyn Serve>) {
        let (links, tasks) = (self.links.clone(), self.tasks.clone());
        let lending = lend(links, serve, self.acquaintances.clone(), tasks);
        let stop = self.inner.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(lending).await });
    }

    /// Lets in who asks with these headers to lend a connection. Whether it has shown a certificate
    /// decides what is believed of what is answered over it.
    ///
    /// # Errors
    /// Why it is not let in, as for a call.
    pub fn borrow(&self, headers: http::HeaderMap, is_proven: bool) -> Result<Loan, String> {
        let loan = Loan::new(&self.inner, headers, is_proven);
        loan.map_err(|refusal| refusal.message().to_owned())
    }

    /// The bytes that may be in flight.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    fn spawn_duties(&self) {
        let barrier = self.inner.barrier.clone();
        let (consensus, progress) = (self.consensus.clone(), self.progress.clone());
        let (notice, stop) = (self.links.notice().clone(), self.stop.clone());
        self.tasks.spawn(async move { barrier.run(consensus, progress, notice, stop).await });
        let duties = Duties {
            member_id: self.identity.member_id,
            consensus: self.consensus.clone(),
            lessor: self.inner.lessor.clone(),
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
        let halves = duties.clone();
        run(Box::pin(async move { halves.drop_halves().await }));
        run(Box::pin(async move { lead.follow_leadership().await }));
        run(Box::pin(async move { expire.expire_leases().await }));
        run(Box::pin(async move { trim.trim_log().await }));
        run(Box::pin(async move { duties.flush_old().await }));
        let inner = self.inner.clone();
        let heartbeat = self.options.heartbeat;
        run(Box::pin(async move { complete_members(&inner, heartbeat).await }));
        let (raft, links) = (self.inner.raft.clone(), self.links.clone());
        let patience = self.options.election_timeout;
        run(Box::pin(async move { beat(raft, patience, heartbeat, links.flow()).await }));
        let integrity = self.integrity();
        let checks = self.options.integrity;
        run(Box::pin(async move { integrity.run(checks).await }));
        let (inner, flusher) = (self.inner.clone(), self.flusher.clone());
        let patience = self.options.election_timeout;
        run(Box::pin(async move { watch_disk(&inner, &flusher, patience).await }));
        run(Box::pin(exclusion::ask_around(self.links.clone(), self.status())));
        let patience = self.options.election_timeout;
        run(Box::pin(probe(self.links.clone(), patience)));
        let (quota, store, consensus) =
            (self.quota.clone(), self.store.clone(), self.consensus.clone());
        let (looks, layers, flushes) = (quota.clone(), store.clone(), consensus.clone());
        run(Box::pin(room::watch(self.flusher.clone(), layers, looks, flushes)));
        let (me, within) = (self.identity.member_id, self.options.request_timeout);
        run(Box::pin(async move { quota.raise(me, &store, &*consensus, within).await }));
    }

    /// Waits until it turns out that the cluster goes on without this member, which then must stop.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn excluded(&self) -> Exclusion {
        self.links.notice().posted().await
    }

    /// Which member of which cluster this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn integrity(&self) -> Integrity {
        let (inner, links) = (self.inner.clone(), self.links.clone());
        Integrity { inner, links, consensus: self.consensus.clone() }
    }

    /// Compares this member's data with those of the others, if that is to be done at the start.
    ///
    /// # Errors
    /// They differ: this member must not serve.
    pub async fn check_start(&self) -> Result<(), Inconsistent> {
        match self.options.integrity.at_start {
            true => self.integrity().check_start().await,
            false => Ok(()),
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    pub(crate) fn count_renewal(&self) {
        self.metrics.lease_renewed.inc();
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

    /// The members of the cluster by id, ascending, as of the last entry that was applied.
    pub fn members(&self) -> Vec<MemberInfo> {
        let peers = self.inner.members.borrow().clone();
        let members = peers.into_iter().map(|(id, (peer, _))| {
            let attributes = self.store.tables(|tables: &Tables| tables.members.get(&id).cloned());
            let attributes = attributes.unwrap_or_default();
            MemberInfo {
                id,
                name: attributes.name,
                peer_urls: peer.peer_urls,
                client_urls: attributes.client_urls,
                is_learner: peer.is_learner,
            }
        });
        members.collect()
    }

    /// Whether this member is a learner: it is to have no vote, and does not serve everything.
    pub fn is_learner(&self) -> bool {
        let me = self.identity.member_id;
        self.inner.peers.borrow().get(&me).is_some_and(|(peer, _)| peer.is_learner)
    }

    /// Waits until this member has its vote, if it is to have one: the others count on it from then
    /// on.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn counted_in(&self) {
        let me = self.identity.member_id;
        let waits = |(peer, is_without_vote): &(Peer, bool)| *is_without_vote && !peer.is_learner;
        let mut peers = self.inner.peers.clone();
        // An error is the end of the member.
        peers.wait_for(|peers| !peers.get(&me).is_some_and(waits)).await.ok();
    }

    /// Proposes a command and waits for its answer.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may be carried out all the same.
    pub async fn propose(&self, command: &Command) -> Result<Reply, RequestError> {
        let payload = command.encode();
        let _permit = self.admit(payload.len())?;
        let proposal = Proposal::new(&self.metrics, command.kind());
        let started = proposal.started();
        let until = started + self.options.request_timeout;
        let answer = tokio::time::timeout_at(until, self.consensus.propose(payload)).await;
        let unanswered =
            |_| self.inner.heard.reigns.unanswered(started, self.options.election_timeout);
        let answer = answer.map_err(unanswered)??;
        proposal.answered();
        match answer {
            Some(answer) => Ok(answer?),
            None => Ok(Reply::Done),
        }
    }

    /// Checks a command against the quota and the room on the disk; raises the alarm when it does
    /// not fit any more. While the alarm is raised, nothing is proposed that would be refused when
    /// it is applied: the log needs its room. Room on the disk is claimed until the command is
    /// answered.
    pub async fn check_quota(&self, command: &Command) -> Result<Option<Claim>, RequestError> {
        let (cost, me) = (costs::cost(command), self.identity.member_id);
        if cost == 0 {
            return Ok(None);
        }
        let mine = (AlarmType::Nospace as i32, me);
        let claimed = tokio::time::timeout(self.options.request_timeout, self.quota.claim(cost));
        let claim = claimed.await.map_err(|_| RequestError::Timeout)?;
        if claim.is_none() {
            let is_mine = || self.store.tables(|tables| tables.alarms.contains(&mine));
            // It may have been disarmed at another member.
            let stands = is_mine() && self.linearize().await.is_ok() && is_mine();
            // Whether the alarm could be raised makes no difference to the client, as in etcd.
            if !stands && let Err(error) = self.propose(&quota::alarm(me)).await {
                tracing::warn!(%error, "the alarm is not raised yet");
            }
            return Err(Refusal::NoSpace.into());
        }
        // The other alarm has other words, which it is for the state machine to say.
        let is_raised = || {
            let [full, corrupt] = [AlarmType::Nospace, AlarmType::Corrupt];
            self.store.tables(|tables| tables.is_raised(full) && !tables.is_raised(corrupt))
        };
        if is_raised() {
            // It may have been disarmed at another member.
            self.linearize().await?;
            if is_raised() {
                return Err(Refusal::NoSpace.into());
            }
        }
        Ok(claim)
    }

    /// Waits until a read sees everything that was acknowledged before this call.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn linearize(&self) -> Result<(), RequestError> {
        self.linearize_since(Instant::now()).await
    }

    async fn linearize_since(&self, started: Instant) -> Result<(), RequestError> {
        let until = started + self.options.request_timeout;
        match tokio::time::timeout_at(until, self.inner.barrier.pass()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.metrics.read_indexes_failed.inc();
                Err(error)
            }
            Err(_) => {
                self.metrics.slow_read_indexes.inc();
                Err(RequestError::Timeout)
            }
        }
    }

    /// Ids of all leases, those that end first in front.
    pub fn leases(&self) -> Vec<i64> {
        self.inner.lessor.leases()
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

    /// Withdraws from what the members decide together, before requests end. Leadership goes to
    /// another one that can take it, so that the others need not find out that this one is gone.
    /// One without which the cluster goes on hears no decision any more: nobody waits for it.
    pub async fn withdraw(&self) {
        if self.flusher.waits_for_room() {
            // Nobody may wait for a disk that has none. What fails was acknowledged to nobody.
            self.flusher.give_up_room();
        }
        if self.links.notice().is_posted() {
            self.consensus.shutdown().await;
        } else if self.inner.leads() {
            self.inner.membership.hand_over().await;
        }
    }

    /// Ends what other members keep open here, and this one there: no client may wait any more.
    pub fn part(&self) {
        self.inner.stop.cancel();
    }

    /// Stops the member: what was applied is flushed, so that the next start has nothing to replay.
    /// Requests that come after are refused.
    pub async fn stop(&self) {
        self.flush_at_the_end().await;
        self.part();
        self.stop.cancel();
        self.tasks.close();
        self.consensus.shutdown().await;
        self.tasks.wait().await;
    }

    /// Flushes everything, unless there is no room for it: the log has it.
    async fn flush_at_the_end(&self) {
        let no_room = async {
            while self.flusher.idle_if_there_is_room().await {
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
        };
        tokio::select! {
            () = self.flush() => {}
            () = no_room => tracing::warn!("the disk has no room for what is in memory"),
        }
        self.flusher.give_up_room();
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

/// Hands leadership over when the disk hangs: a leader goes on without its own disk, on those of
/// the others, but not for ever, and it could not vote.
async fn watch_disk(inner: &Inner, flusher: &Flusher, patience: Duration) {
    let mut ticks = tokio::time::interval(patience);
    loop {
        ticks.tick().await;
        let stalled = flusher.wal().stalled_for();
        if stalled > patience {
            tracing::warn!(seconds = stalled.as_secs(), "the disk does not finish a write");
            if inner.leads() {
                inner.membership.hand_over().await;
            }
        }
    }
}

/// Sees to it that members get the vote they are to have, while this one leads.
async fn complete_members(inner: &Inner, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if inner.leads() {
            inner.membership.complete().await;
        }
    }
}
