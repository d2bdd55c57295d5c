//! Consensus as the rest of the server sees it, and openraft behind that.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use tokio::sync::{oneshot, watch};

use crate::state_machine::StateMachine;
use crate::types::{Answer, Payload, Peer, StoredMembership, TypeConfig, Waiting};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How long to wait before asking again a leader that could not confirm that it leads.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Why consensus gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader {
        /// Who leads, if that is known.
        leader: Option<u64>,
    },
    /// Another leader took over while the proposal was under way: whether it was carried out is not
    /// known.
    #[error("the leader changed while the proposal was under way")]
    LeaderChanged,
    /// The member is stopping, or has stopped because of a fault.
    #[error("the member has stopped")]
    Stopped,
}

/// Where this member stands in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The current term.
    pub term: u64,
    /// Who leads; `None` when nobody does.
    pub leader: Option<u64>,
}

/// Agreement among the members on the order of commands.
pub trait Consensus: Send + Sync {
    /// Proposes an encoded command and waits until it is applied here. What was proposed may be
    /// carried out even when the future is dropped or fails.
    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>>;

    /// The log index up to which the state machine must have come for a read to see everything that
    /// was acknowledged before the call. Confirms leadership afresh each time.
    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>>;

    /// Where the member stands.
    fn status_now(&self) -> RaftStatus;

    /// Tells where the member stands, now and whenever that changes.
    fn status(&self) -> watch::Receiver<RaftStatus>;

    /// Index of the last entry that this member knows to be committed.
    fn committed(&self) -> u64;

    /// Flushes what was applied, without waiting for the end.
    fn flush(&self) -> BoxFuture<'_, ()>;

    /// Lets the log forget what the last flush made unnecessary, but for the last entries, which
    /// members that lag behind may want; those up to `beyond` go all the same.
    fn trim_log(&self, beyond: Option<u64>) -> BoxFuture<'_, ()>;

    /// Stops taking part.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// Consensus by openraft.
pub(crate) struct OpenRaft {
    raft: Raft<TypeConfig, StateMachine>,
    status: watch::Receiver<RaftStatus>,
}

impl OpenRaft {
    /// `status` must be fed from the raft's metrics by [`follow`].
    pub(crate) fn new(
        raft: Raft<TypeConfig, StateMachine>,
        status: watch::Receiver<RaftStatus>,
    ) -> Self {
        Self { raft, status }
    }
}

/// The members in the raft membership, and whether each is a learner.
pub(crate) type Peers = BTreeMap<u64, (Peer, bool)>;

/// Carries what the raft reports into `status` and `peers`, until it stops.
pub(crate) async fn follow(
    raft: Raft<TypeConfig, StateMachine>,
    status: watch::Sender<RaftStatus>,
    peers: watch::Sender<Peers>,
) {
    use openraft::async_runtime::WatchReceiver;
    // These change with the leader and the membership alone, not with every entry.
    let mut metrics = raft.server_metrics();
    let mut known = None;
    loop {
        let now = {
            let metrics = metrics.borrow_watched();
            let membership = &metrics.membership_config;
            if known != *membership.log_id() || peers.borrow().is_empty() {
                known = *membership.log_id();
                peers.send_replace(peers_of(membership));
            }
            RaftStatus { term: metrics.vote.leader_id.term, leader: metrics.current_leader }
        };
        status.send_if_modified(|old| std::mem::replace(old, now) != now);
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

fn peers_of(stored: &StoredMembership) -> Peers {
    let membership = stored.membership();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes();
    nodes.map(|(id, peer)| (*id, (peer.clone(), !voters.contains(id)))).collect()
}

impl Consensus for OpenRaft {
    fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Answer, Unavailable>> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let sent = self.raft.client_write_ff(Payload(payload), Some(Waiting(sender))).await;
            sent.map_err(|_| Unavailable::Stopped)?;
            match receiver.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                    Err(Unavailable::NotLeader { leader: forward.leader_id })
                }
                Ok(Err(_)) => Err(Unavailable::LeaderChanged),
                Err(_) => Err(Unavailable::Stopped),
            }
        })
    }

    fn read_index(&self) -> BoxFuture<'_, Result<u64, Unavailable>> {
        Box::pin(async move {
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
        })
    }

    fn status_now(&self) -> RaftStatus {
        *self.status.borrow()
    }

    fn status(&self) -> watch::Receiver<RaftStatus> {
        self.status.clone()
    }

    fn committed(&self) -> u64 {
        use openraft::async_runtime::WatchReceiver;
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
            let trigger = self.raft.trigger();
            let trimmed = match (trigger.snapshot().await, beyond) {
                // Never behind the snapshot.
                (Ok(()), Some(beyond)) => trigger.purge_log(beyond).await,
                (done, _) => done,
            };
            if let Err(error) = trimmed {
                tracing::debug!(%error, "the log is not trimmed: the member has stopped");
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
