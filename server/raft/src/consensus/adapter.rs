//! Implements [`Consensus`] with openraft.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft::{Raft, ReadPolicy};
use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_proto::peer as pb;
use quorate_storage::wal::Wal;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::heartbeat::send_heartbeats;
use super::leader_contact::LeaderContact;
use super::start::{Settings, start_raft};
use super::state_machine::StateMachine;
use super::status::StatusPublisher;
use crate::ground::completion::{Stopped, completion};
use crate::ground::consensus::{Answer, BoxFuture, Consensus, Holding, RaftStatus, Unavailable};
use crate::ground::member::{Peer, Peers};
use crate::ground::waiters::UnknownOutcome;
use crate::log::types::{Payload, ReplyTo, TypeConfig};
use crate::network::forward::Forwarder;
use crate::network::peer_pool::PeerPool;
use crate::network::persistent_call::PersistentCall;

/// Pause before the next try if a leader could not confirm its leadership, or did not accept a
/// proposal.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// Timeout for confirming leadership, here or on another member.
const READ_INDEX_WITHIN: Duration = Duration::from_millis(500);

/// The parts that the raft protocol is made of.
pub(crate) struct Parts {
    pub(crate) me: u64,
    /// The members of a new cluster.
    pub(crate) founders: Option<BTreeMap<u64, Peer>>,
    pub(crate) settings: Settings,
    pub(crate) wal: Arc<Wal>,
    pub(crate) machine: StateMachine,
    pub(crate) pool: Arc<PeerPool>,
    pub(crate) forwarder: Forwarder,
    /// Receives the members named by the log.
    pub(crate) peers: watch::Sender<Peers>,
    pub(crate) tasks: TaskTracker,
}

/// Consensus by openraft. Only `consensus` holds openraft's handle.
pub(crate) struct OpenRaft {
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pool: Arc<PeerPool>,
    forwarder: Forwarder,
    status: watch::Receiver<RaftStatus>,
    leader_contact: Arc<LeaderContact>,
    activity: Arc<Activity>,
    /// The open call for read indexes, with the leader it goes to.
    reads: Mutex<Option<(u64, Reads)>>,
}

type Reads = PersistentCall<pb::ReadIndexRequest, pb::ReadIndexReply>;

impl OpenRaft {
    /// Starts the raft protocol.
    ///
    /// # Errors
    /// The reason as text for the operator.
    pub(crate) async fn start(parts: Parts) -> Result<Self, String> {
        let Parts { me, founders, settings, wal, machine, pool, forwarder, peers, tasks } = parts;
        let raft = start_raft(me, founders, settings, wal, machine, pool.clone()).await?;
        let (status, receiver) = watch::channel(RaftStatus::default());
        let leader_contact = Arc::new(LeaderContact::new());
        let activity = Arc::new(Activity::default());
        let Settings { heartbeat, election_timeout, .. } = settings;
        let publisher = StatusPublisher {
            raft: raft.clone(),
            leader_contact: leader_contact.clone(),
            activity: activity.clone(),
            heartbeat,
            election_timeout,
            status,
            peers,
        };
        tasks.spawn(publisher.run());
        let reads = Mutex::default();
        Ok(Self { raft, pool, forwarder, status: receiver, leader_contact, activity, reads })
    }

    /// The time at which this member last heard from a leader, and the leaders that it has seen.
    pub(crate) fn leader_contact(&self) -> &Arc<LeaderContact> {
        &self.leader_contact
    }

    /// The members that answer this one while it leads.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Sends heartbeats while this member leads, until the raft stops.
    pub(crate) async fn send_heartbeats(&self, settings: Settings) {
        let Settings { heartbeat, election_timeout, .. } = settings;
        send_heartbeats(self.raft.clone(), election_timeout, heartbeat, self.pool.flow()).await;
    }

    pub(super) fn me(&self) -> u64 {
        self.pool.identity().member_id
    }

    /// Proposes to this member's own log in `term`. After [`Unavailable::NotLeader`], nothing was
    /// proposed.
    async fn propose_here(
        &self,
        term: u64,
        command: Bytes,
        held: Holding,
    ) -> Result<Answer, Unavailable> {
        let (completer, written) = completion();
        let reply_to = ReplyTo::Local { completer, held };
        let write = self.raft.write(Payload::local(command)).responder(reply_to);
        // openraft batches only proposals with the same expected leader, so every proposal names
        // the leader.
        let sent = write.with_leader(CommittedLeaderId::new(term)).await;
        sent.map_err(|_| Unavailable::Stopped)?;
        match written.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Unavailable::NotLeader { leader: forward.leader_id })
            }
            Ok(Err(_)) => Err(Unavailable::LeaderChanged),
            Err(Stopped) => Err(Unavailable::Stopped),
        }
    }

    /// The committed index without confirming leadership; only for planted mistakes.
    fn unconfirmed_index(&self) -> Option<u64> {
        let leads = || self.raft.metrics().borrow_watched().current_leader == Some(self.me());
        let at_follower = planted::has(Mistake::StaleReadAtFollower) && !leads();
        let at_leader = planted::has(Mistake::UnconfirmedLeaderRead) && leads();
        (at_follower || at_leader).then(|| self.committed())
    }

    /// Asks `leader` for a read index; `None` if it does not answer or no longer leads.
    async fn ask_read_index(&self, leader: u64) -> Option<u64> {
        let peer = self.pool.peer(leader)?;
        let mut client = peer.control.clone();
        let reads = self.reads.lock().take().filter(|(to, _)| *to == leader);
        let mut reads = reads.map_or_else(PersistentCall::new, |(_, reads)| reads);
        let open = async move |requests| client.read_index(requests).await;
        let asked = reads.ask(open, pb::ReadIndexRequest {});
        let reply = match tokio::time::timeout(READ_INDEX_WITHIN, asked).await {
            Ok(reply) => reply.inspect_err(|error| peer.note_exclusion(error)).ok()?,
            Err(_) => {
                self.pool.renew(leader);
                return None;
            }
        };
        *self.reads.lock() = Some((leader, reads));
        reply.leads.then_some(reply.index)
    }

    /// The read index, if this member leads. Retries until leadership is confirmed or lost.
    pub(super) async fn confirmed_index(&self) -> Result<u64, Unavailable> {
        loop {
            match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
                Ok(linearizer) => return Ok(linearizer.read_log_id().index()),
                Err(RaftError::Fatal(_)) => return Err(Unavailable::Stopped),
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))
                    if forward.leader_id != Some(*self.raft.node_id()) =>
                {
                    return Err(Unavailable::NotLeader { leader: forward.leader_id });
                }
                // No quorum has confirmed the leadership: ask again.
                Err(RaftError::APIError(_)) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn propose_anywhere(&self, command: Bytes, held: Holding) -> Result<Answer, Unavailable> {
        let mut status = self.status.clone();
        loop {
            let RaftStatus { term, leader } = *status.borrow_and_update();
            match leader {
                Some(leader) if leader == self.me() => {
                    match self.propose_here(term, command.clone(), held.clone()).await {
                        Err(Unavailable::NotLeader { .. }) => {}
                        other => return other,
                    }
                }
                Some(leader) => match self.forwarder.propose(leader, term, &command, &held).await {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => {}
                    Err(UnknownOutcome) if self.pool.notice().is_posted() => {
                        return Err(Unavailable::Stopped);
                    }
                    Err(UnknownOutcome) => return Err(Unavailable::LeaderChanged),
                },
                None => {
                    let changed = tokio::select! {
                        changed = status.changed() => changed,
                        _ = self.pool.notice().posted() => return Err(Unavailable::Stopped),
                    };
                    changed.map_err(|_| Unavailable::Stopped)?;
                    continue;
                }
            }
            if self.pool.notice().is_posted() {
                return Err(Unavailable::Stopped);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

impl Consensus for OpenRaft {
    fn propose(&self, payload: Bytes, held: Holding) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(self.propose_anywhere(payload, held))
    }

    fn propose_in(&self, term: u64, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(self.propose_here(term, payload, Holding::default()))
    }

    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>> {
        Box::pin(async move {
            if let Some(index) = self.unconfirmed_index() {
                return Ok(index);
            }
            let leader = self.status_now().leader;
            let not_leader = if self.pool.notice().is_posted() {
                Unavailable::Stopped
            } else {
                Unavailable::NotLeader { leader }
            };
            match leader {
                None => Err(not_leader),
                Some(leader) if leader == self.me() => {
                    let asked = self.confirmed_index();
                    let asked = tokio::time::timeout(READ_INDEX_WITHIN, asked).await;
                    asked.unwrap_or(Err(not_leader))
                }
                Some(leader) => self.ask_read_index(leader).await.ok_or(not_leader),
            }
        })
    }

    fn status_now(&self) -> RaftStatus {
        *self.status.borrow()
    }

    fn status(&self) -> watch::Receiver<RaftStatus> {
        self.status.clone()
    }

    fn committed(&self) -> u64 {
        let metrics = self.raft.data_metrics();
        let committed = &metrics.borrow_watched().local_committed;
        committed.as_ref().map_or(0, |id| id.index())
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let frozen = self.raft.with_state_machine(|machine: &mut StateMachine| {
                machine.freeze();
                Box::pin(std::future::ready(()))
            });
            if let Err(error) = frozen.await {
                tracing::debug!(%error, "cannot flush: the member has stopped");
            }
        })
    }

    fn trim_log(&self, beyond: Option<u64>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // The snapshot is read first: the purge below reaches at least `beyond` or this one.
            let snapshot = self.raft.data_metrics().borrow_watched().snapshot;
            let trigger = self.raft.trigger();
            let trimmed = match (trigger.snapshot().await, beyond) {
                // openraft purges nothing beyond the snapshot.
                (Ok(()), Some(beyond)) => trigger.purge_log(beyond).await,
                (done, _) => done,
            };
            if let Err(error) = trimmed {
                tracing::debug!(%error, "cannot trim the log: the member has stopped");
            }
            // openraft keeps all entries that it is sending to a lagging member. Below the floor,
            // that member gets a snapshot instead.
            if let (Some(beyond), Some(snapshot)) = (beyond, snapshot) {
                let floor = beyond.min(snapshot.index());
                self.pool.flow().send_if_modified(|flow| {
                    let is_higher = floor > flow.floor;
                    flow.floor = flow.floor.max(floor);
                    is_higher
                });
            }
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.raft.shutdown().await {
                tracing::error!(%error, "the raft task failed");
            }
        })
    }
}
