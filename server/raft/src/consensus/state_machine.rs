//! openraft's state machine over the store.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::entry::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use quorate_core::{Applied, Command, Effect, Ending, Fault, LogPosition, Refusal, Store};
use quorate_storage::{OnFault, db};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;
use tokio::time::Instant;

use super::checkpoint::{CheckpointReader, snapshot_of};
use crate::disk::flusher::Flusher;
use crate::disk::quota::Quota;
use crate::ground::consensus::Answer;
use crate::ground::logins::Logins;
use crate::ground::member::Configuration;
use crate::ground::progress::Progress;
use crate::ground::waiters::{Waiter, Waiters};
use crate::leader::lessor::Lessor;
use crate::log::encoding::encode_membership;
use crate::log::members::{configuration_of, log_member_changes};
use crate::log::snapshot::{Snapshot, SnapshotHandle, SnapshotMeta};
use crate::log::types::{Entry, LogId, Membership, StoredMembership, TypeConfig, log_id, position};
use crate::metrics::Metrics;
use crate::metrics::durations::Batch;

/// Maximum size of the active memtable while the log or a flush waits for disk space, as a number
/// of full memtables.
const SHORTAGE_MEMTABLES: usize = 4;

/// How long the state machine applies entries before other tasks get a turn.
const TURN: Duration = Duration::from_millis(5);

/// A command runs as blocking work if it has more operations and keys together than this number, or
/// if it reads an earlier revision. A command with this number takes a few milliseconds.
const SMALL_MAX: usize = 1000;

/// Runs work that may take seconds. Other tasks, such as heartbeats and reads, move to other
/// threads during the work. This move costs too much for short work.
fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        // A runtime with one thread has no other thread.
        _ => work(),
    }
}

/// Answers that the state machine sends together after it has applied the whole batch, so that
/// answers to one connection are written together.
type PendingAnswers = Vec<(ApplyResponder<TypeConfig>, Answer)>;

/// The state machine's reply to a command.
type Reply = Result<quorate_core::Reply, Refusal>;

/// openraft's view of the store.
pub(crate) struct StateMachine {
    store: Store,
    membership: StoredMembership,
    /// Receives each membership before `progress` shows its entry as applied.
    members: watch::Sender<Configuration>,
    flusher: Flusher,
    lessor: Arc<Lessor>,
    progress: Progress,
    quota: Arc<Quota>,
    metrics: Arc<Metrics>,
    on_fault: OnFault,
    /// Index of the last entry in the memtable that was frozen last.
    frozen_index: u64,
    me: u64,
    /// Clients of this member whose commands were forwarded to the leader.
    waiters: Arc<Waiters>,
    logins: Arc<Logins>,
    /// Bytes that the quota counts, without the active memtable.
    settled: u64,
    /// Empty between batches, like `forwarded`. Both fields exist to reuse the memory.
    answers: PendingAnswers,
    forwarded: Vec<(Waiter, Answer)>,
    /// Counts of the commands in the current batch. Empty between batches.
    batch: Batch,
}

/// The parts of a state machine.
pub(crate) struct Parts {
    pub(crate) me: u64,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) logins: Arc<Logins>,
    pub(crate) store: Store,
    pub(crate) membership: StoredMembership,
    pub(crate) members: watch::Sender<Configuration>,
    pub(crate) flusher: Flusher,
    pub(crate) lessor: Arc<Lessor>,
    pub(crate) progress: Progress,
    pub(crate) quota: Arc<Quota>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) on_fault: OnFault,
}

impl StateMachine {
    pub(crate) fn new(parts: Parts) -> Self {
        let frozen_index = parts.store.applied().map_or(0, |at| at.index);
        Self {
            store: parts.store,
            membership: parts.membership,
            members: parts.members,
            flusher: parts.flusher,
            lessor: parts.lessor,
            progress: parts.progress,
            quota: parts.quota,
            metrics: parts.metrics,
            on_fault: parts.on_fault,
            frozen_index,
            me: parts.me,
            waiters: parts.waiters,
            logins: parts.logins,
            settled: 0,
            answers: PendingAnswers::new(),
            forwarded: Vec::new(),
            batch: Batch::default(),
        }
    }

    /// Freezes the active memtable and flushes it, unless a flush is running.
    pub(crate) fn freeze(&mut self) {
        let applied = self.store.applied().map_or(0, |at| at.index);
        if applied <= self.frozen_index {
            return;
        }
        if let Some(frozen) = self.store.freeze() {
            self.frozen_index = applied;
            self.flusher.flush(frozen);
        }
    }

    /// Starts a flush if a flush is due, and waits while the memtables have their maximum size.
    async fn limit_memtables(&mut self) {
        let limit = self.flusher.memtable_bytes_max();
        let entries_max = self.flusher.options().entries_max;
        let applied = self.store.applied().map_or(0, |at| at.index);
        let due = self.store.active_bytes() >= limit
            || (entries_max > 0 && applied - self.frozen_index.min(applied) >= entries_max);
        if !due {
            return;
        }
        self.freeze();
        while self.store.active_bytes() >= self.active_bytes_max()
            && self.store.shared().has_frozen()
        {
            self.flusher.idle_if_there_is_space().await;
            self.freeze();
        }
    }

    /// Size in bytes of the active memtable above which the state machine waits for the flush of
    /// the frozen memtable. While the disk is full, that wait can be long, so the limit is higher:
    /// the state machine still has to apply the alarm, and the commands that end the shortage. From
    /// the alarm on, it refuses commands that add data.
    fn active_bytes_max(&self) -> usize {
        if self.flusher.waits_for_space() {
            self.flusher.options().memtable_bytes_max * SHORTAGE_MEMTABLES
        } else {
            self.flusher.memtable_bytes_max()
        }
    }

    /// Applies an entry and queues the answer for its client.
    fn apply_entry(
        &mut self,
        entry: Entry,
        responder: Option<ApplyResponder<TypeConfig>>,
    ) -> Result<(), Fault> {
        let at = position(&entry.log_id);
        let mut answer = None;
        let mut forwarded = None;
        match entry.payload {
            EntryPayload::Blank => self.store.apply_blank(at),
            EntryPayload::Membership(membership) => {
                let ids = |membership: &Membership| membership.nodes().map(|(id, _)| *id).collect();
                let before = ids(self.membership.membership());
                let now = ids(&membership);
                log_member_changes(self.membership.membership(), &membership);
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.members.send_replace(configuration_of(&self.membership));
                let stored = encode_membership(&self.membership);
                self.store.apply_membership(at, stored, &before, &now);
            }
            EntryPayload::Normal(payload) => {
                let (reply, fits) = self.apply_command(at, &payload.command())?;
                let id = payload.proposal_id().filter(|id| id.member == self.me);
                forwarded = id.and_then(|id| self.waiters.take(id.sequence));
                if !fits {
                    self.hold(responder, forwarded, reply);
                    return Ok(());
                }
                answer = Some(reply);
            }
        }
        if let Some(waiting) = forwarded {
            self.forwarded.push((waiting, answer.take()));
        }
        if let Some(responder) = responder {
            self.answers.push((responder, answer));
        }
        Ok(())
    }

    /// Keeps the answers to a command over the quota until the alarm is raised.
    fn hold(
        &self,
        responder: Option<ApplyResponder<TypeConfig>>,
        forwarded: Option<Waiter>,
        reply: Reply,
    ) {
        if let Some(waiting) = forwarded {
            let reply = reply.clone();
            self.quota.hold(Box::new(move || {
                // The client may have stopped waiting.
                waiting.send(Ok(Some(reply))).ok();
            }));
        }
        if let Some(responder) = responder {
            self.quota.hold(Box::new(move || responder.send(Some(reply))));
        }
    }

    /// Applies a command. Returns the reply, and whether the command fits this member's quota. A
    /// command that does not fit stays applied, but the reply to it is [`Refusal::NoSpace`].
    fn apply_command(&mut self, at: LogPosition, payload: &Bytes) -> Result<(Reply, bool), Fault> {
        self.quota.measure(self.settled + self.store.active_bytes() as u64);
        self.quota.reservations().note(payload.len() as u64);
        let (command, origin) =
            Command::decode(payload).map_err(|reason| Fault::Entry { index: at.index, reason })?;
        let kind = command.kind();
        let is_small = self.store.is_small(&command, &origin, SMALL_MAX)?;
        let apply = || self.store.apply_decoded(at, command, &origin);
        let Applied { mut reply, effects, cost } =
            if is_small { apply()? } else { run_blocking(apply)? };
        for effect in effects {
            match effect {
                Effect::LeaseGranted { id, ttl } => {
                    self.metrics.lease_granted(ttl);
                    self.lessor.granted(id, ttl);
                }
                Effect::LeaseRevoked { id } => {
                    self.metrics.lease_revoked.inc();
                    self.lessor.revoked(id);
                }
                Effect::Alarms => self.metrics.alarms_changed(self.store.shared()),
                Effect::LoggedIn { token, user } => self.logins.began(at.index, token, user),
                Effect::LoggedOut { user } => self.logins.ended(user.as_deref()),
                Effect::Compacted { .. } => {}
            }
        }
        let fits = reply.is_err() || self.quota.allows(cost);
        if !fits {
            self.quota.note_exceeded(cost);
            reply = Err(Refusal::NoSpace);
        }
        self.batch.note(kind, &reply);
        Ok((reply, fits))
    }

    /// Updates the bytes that the quota counts. This method reads the sizes of the database before
    /// the sizes of the memtables: if a flush ends between the two reads, its memtable is briefly
    /// not counted, but never counted twice.
    fn measure(&mut self) {
        let in_use = self.flusher.engine().sizes().in_use;
        let active = self.store.active_bytes();
        let memtables = self.store.shared().memtable_bytes();
        self.settled = in_use + memtables.saturating_sub(active) as u64;
        self.quota.measure(self.settled + active as u64);
    }

    /// Stops the member: its state can no longer be trusted.
    fn fail(&self, fault: &Fault) -> io::Error {
        let text = format!("the state machine failed: {fault}");
        self.end(Ending { reason: db::end_reason(fault), text })
    }

    fn end(&self, ending: Ending) -> io::Error {
        let error = io::Error::other(ending.text.clone());
        (self.on_fault)(ending);
        error
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = CheckpointReader;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.store.applied().map(log_id), self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        let started = Instant::now();
        self.limit_memtables().await;
        self.store.begin_batch();
        self.measure();
        let mut turn = Instant::now();
        while let Some(item) = entries.next().await {
            // A batch can have any size, and the loop itself may have nothing to wait for. So the
            // loop gives other tasks a turn.
            if turn.elapsed() > TURN {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
            let (entry, responder) = item?;
            self.apply_entry(entry, responder).map_err(|fault| self.fail(&fault))?;
        }
        self.store.end_batch();
        if let Some(applied) = self.store.applied() {
            self.progress.advance(applied.index);
            self.waiters.applied(applied.term);
        }
        self.measure();
        self.metrics.operations.add(&self.store.take_tally());
        self.metrics.durations.applied(&mut self.batch, started);
        for (responder, answer) in self.answers.drain(..) {
            responder.send(answer);
        }
        for (waiting, answer) in self.forwarded.drain(..) {
            // The client may have stopped waiting.
            waiting.send(Ok(answer)).ok();
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<CheckpointReader> {
        (!self.flusher.is_empty()).then(|| CheckpointReader(self.flusher.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointReader {
        // openraft calls this method only if `try_create_snapshot_builder` is not implemented.
        unreachable!("snapshots are made by try_create_snapshot_builder")
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> io::Result<()> {
        let SnapshotHandle::Received(received) = snapshot else {
            let text = "a snapshot of this member's own state cannot be installed";
            return Err(io::Error::other(text));
        };
        self.metrics.cluster.installing(true);
        let restored = self.flusher.install(*received).await;
        self.metrics.cluster.installing(false);
        let restored = restored.map_err(|error| {
            let text = format!("a snapshot cannot be installed: {error}");
            self.end(Ending { reason: error.end_reason(), text })
        })?;
        self.store.continue_from(restored);
        self.store.end_batch();
        log_member_changes(self.membership.membership(), meta.last_membership.membership());
        self.membership = meta.last_membership.clone();
        self.members.send_replace(configuration_of(&self.membership));
        self.frozen_index = self.store.applied().map_or(0, |at| at.index);
        self.measure();
        self.lessor.replaced();
        // The snapshot stands for entries that may have ended any login.
        self.logins.ended(None);
        self.waiters.replaced(self.store.applied().map_or(0, |at| at.term));
        self.metrics.alarms_changed(self.store.shared());
        self.progress.advance(self.frozen_index);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        // A member that has never flushed has the log from the first entry on. If a follower asks
        // for a snapshot all the same, the follower needs the current state.
        if self.flusher.is_empty() {
            self.freeze();
            if !self.flusher.idle_if_there_is_space().await {
                return Ok(None);
            }
        }
        Ok(self.flusher.checkpoint()?.map(snapshot_of))
    }
}
