//! openraft, as consensus.

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
use tokio::sync::{oneshot, watch};
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::beat::beat;
use super::follower::Follower;
use super::heard::Heard;
use super::start::{Settings, start_raft};
use super::state_machine::StateMachine;
use crate::ground::consensus::{Answer, BoxFuture, Consensus, RaftStatus, Unavailable};
use crate::ground::member::{Peer, Peers};
use crate::ground::waiters::Lost;
use crate::log::types::{Payload, ReplyTo, TypeConfig};
use crate::network::forward::Forwarder;
use crate::network::links::Links;
use crate::network::standing::Standing;

/// How long to wait before asking again a leader that could not confirm that it leads, or before
/// proposing again what was not accepted.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
/// How long another member may take to confirm that it leads.
const READ_INDEX_WITHIN: Duration = Duration::from_millis(500);

/// What the protocol works with.
pub(crate) struct Parts {
    pub(crate) me: u64,
    /// The members of a cluster that is founded.
    pub(crate) founders: Option<BTreeMap<u64, Peer>>,
    pub(crate) settings: Settings,
    pub(crate) wal: Arc<Wal>,
    pub(crate) machine: StateMachine,
    pub(crate) links: Arc<Links>,
    pub(crate) forwarder: Forwarder,
    /// Told of the members that the log names.
    pub(crate) peers: watch::Sender<Peers>,
    pub(crate) tasks: TaskTracker,
}

/// Consensus by openraft. Nothing else knows openraft's handle.
pub(crate) struct OpenRaft {
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    links: Arc<Links>,
    forwarder: Forwarder,
    status: watch::Receiver<RaftStatus>,
    heard: Arc<Heard>,
    activity: Arc<Activity>,
    /// The way to ask the leader, that one, for the index of a read.
    reads: Mutex<Option<(u64, Reads)>>,
}

type Reads = Standing<pb::ReadIndexRequest, pb::ReadIndexReply>;

impl OpenRaft {
    /// Starts the protocol.
    ///
    /// # Errors
    /// Why it cannot start, for people.
    pub(crate) async fn start(parts: Parts) -> Result<Self, String> {
        let Parts { me, founders, settings, wal, machine, links, forwarder, peers, tasks } = parts;
        let raft = start_raft(me, founders, settings, wal, machine, links.clone()).await?;
        let (status, receiver) = watch::channel(RaftStatus::default());
        let (heard, activity) = (Arc::new(Heard::new()), Arc::new(Activity::default()));
        let Settings { heartbeat, election_timeout, .. } = settings;
        let follower = Follower {
            raft: raft.clone(),
            heard: heard.clone(),
            activity: activity.clone(),
            heartbeat,
            election_timeout,
            status,
            peers,
        };
        tasks.spawn(follower.run());
        let reads = Mutex::default();
        Ok(Self { raft, links, forwarder, status: receiver, heard, activity, reads })
    }

    /// What this member heard of leaders.
    pub(crate) fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// Which members answer this one while it leads.
    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Sends heartbeats while this member leads, until it stops.
    pub(crate) async fn beat(&self, settings: Settings) {
        let Settings { heartbeat, election_timeout, .. } = settings;
        beat(self.raft.clone(), election_timeout, heartbeat, self.links.flow()).await;
    }

    pub(super) fn me(&self) -> u64 {
        self.links.identity().member_id
    }

    /// Proposes to this member's own log in a term; an error other than `LeaderChanged` means that
    /// nothing was proposed.
    async fn propose_here(&self, term: u64, command: Bytes) -> Result<Answer, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        let write = self.raft.write(Payload::local(command)).responder(ReplyTo::Here(sender));
        // openraft puts into one batch what is for the same term: so it is always said.
        let sent = write.with_leader(CommittedLeaderId::new(term)).await;
        sent.map_err(|_| Unavailable::Stopped)?;
        match receiver.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Unavailable::NotLeader { leader: forward.leader_id })
            }
            Ok(Err(_)) => Err(Unavailable::LeaderChanged),
            Err(_) => Err(Unavailable::Stopped),
        }
    }

    /// What a member knows that asks nobody; nothing, but for mistakes made on purpose.
    fn unasked(&self) -> Option<u64> {
        let leads = || self.raft.metrics().borrow_watched().current_leader == Some(self.me());
        let follower = planted::has(Mistake::StaleReadAtFollower) && !leads();
        let leader = planted::has(Mistake::UnconfirmedLeaderRead) && leads();
        (follower || leader).then(|| self.committed())
    }

    /// What the leader says is the index of a read; nothing when it does not, or leads no more.
    async fn read_index_of(&self, leader: u64) -> Option<u64> {
        let link = self.links.to(leader)?;
        let mut client = link.control.clone();
        let reads = self.reads.lock().take().filter(|(to, _)| *to == leader);
        let mut reads = reads.map_or_else(Standing::new, |(_, reads)| reads);
        let open = async move |requests| client.read_index(requests).await;
        let asked = reads.ask(open, pb::ReadIndexRequest {});
        let reply = match tokio::time::timeout(READ_INDEX_WITHIN, asked).await {
            Ok(reply) => reply.inspect_err(|error| link.heed(error)).ok()?,
            Err(_) => {
                self.links.renew(leader);
                return None;
            }
        };
        *self.reads.lock() = Some((leader, reads));
        reply.leads.then_some(reply.index)
    }

    /// The index a linearizable read must wait for, if this member leads.
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
                // A leader that has not been confirmed yet, or not lately: ask again.
                Err(RaftError::APIError(_)) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn propose_anywhere(&self, command: Bytes) -> Result<Answer, Unavailable> {
        let mut status = self.status.clone();
        loop {
            let RaftStatus { term, leader } = *status.borrow_and_update();
            match leader {
                Some(leader) if leader == self.me() => {
                    match self.propose_here(term, command.clone()).await {
                        Err(Unavailable::NotLeader { .. }) => {}
                        other => return other,
                    }
                }
                Some(leader) => match self.forwarder.propose(leader, term, &command).await {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => {}
                    Err(Lost) if self.links.notice().is_posted() => {
                        return Err(Unavailable::Stopped);
                    }
                    Err(Lost) => return Err(Unavailable::LeaderChanged),
                },
                None => {
                    let changed = tokio::select! {
                        changed = status.changed() => changed,
                        _ = self.links.notice().posted() => return Err(Unavailable::Stopped),
                    };
                    changed.map_err(|_| Unavailable::Stopped)?;
                    continue;
                }
            }
            if self.links.notice().is_posted() {
                return Err(Unavailable::Stopped);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

impl Consensus for OpenRaft {
    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(self.propose_anywhere(payload))
    }

    fn propose_in(&self, term: u64, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(self.propose_here(term, payload))
    }

    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>> {
        Box::pin(async move {
            if let Some(index) = self.unasked() {
                return Ok(index);
            }
            let leader = self.status_now().leader;
            let not_leader = match self.links.notice().is_posted() {
                true => Unavailable::Stopped,
                false => Unavailable::NotLeader { leader },
            };
            match leader {
                None => Err(not_leader),
                Some(leader) if leader == self.me() => {
                    let asked = self.confirmed_index();
                    let asked = tokio::time::timeout(READ_INDEX_WITHIN, asked).await;
                    asked.unwrap_or(Err(not_leader))
                }
                Some(leader) => self.read_index_of(leader).await.ok_or(not_leader),
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
            let rotated = self.raft.with_state_machine(|machine: &mut StateMachine| {
                machine.rotate();
                Box::pin(std::future::ready(()))
            });
            if let Err(error) = rotated.await {
                tracing::debug!(%error, "no flush: the member has stopped");
            }
        })
    }

    fn trim_log(&self, beyond: Option<u64>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Read first: up to there the purge below is carried out.
            let snapshot = self.raft.data_metrics().borrow_watched().snapshot;
            let trigger = self.raft.trigger();
            let trimmed = match (trigger.snapshot().await, beyond) {
                // Never behind the snapshot.
                (Ok(()), Some(beyond)) => trigger.purge_log(beyond).await,
                (done, _) => done,
            };
            if let Err(error) = trimmed {
                tracing::debug!(%error, "the log is not trimmed: the member has stopped");
            }
            // For a member that is far behind, openraft keeps everything as long as it lives.
            if let (Some(beyond), Some(snapshot)) = (beyond, snapshot) {
                let floor = beyond.min(snapshot.index());
                self.links.flow().send_if_modified(|flow| {
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
                tracing::error!(%error, "the raft task ended badly");
            }
        })
    }
}
