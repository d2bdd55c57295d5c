//! Proposals that another member passes on for its clients.

use std::future::Future;
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::errors::ClientWriteError;
use openraft::vote::leader_id_std::CommittedLeaderId;
use quorate_proto::peer as pb;
use quorate_proto::peer::proposal_reply::Outcome;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{claims, guard};
use crate::log::types::{ReplyTo, TypeConfig};
use crate::peer::Inner;

/// Proposals of one other member that may be under way.
pub(super) const PROPOSALS_MAX: usize = 16 << 10;
/// Replies sent in one message.
const REPLIES: usize = 512;
pub(super) type Written =
    Result<openraft::raft::ClientWriteResponse<TypeConfig>, ClientWriteError<TypeConfig>>;

/// Proposes what comes on a stream.
pub(super) async fn take_in(
    inner: Arc<Inner>,
    from: u64,
    mut messages: Streaming<pb::Proposals>,
    replies: mpsc::Sender<(u64, Written)>,
    room: Arc<Semaphore>,
) {
    let stop = inner.stop.clone();
    while let Some(Ok(Some(message))) = stop.run_until_cancelled(messages.message()).await {
        // In no other term: the sender relies on it.
        let term = CommittedLeaderId::new(message.term);
        for bytes in message.proposals {
            let payload = match claims::proposal(&inner, from, bytes) {
                Ok(payload) => payload,
                Err(refusal) => return inner.refusals.log(&refusal),
            };
            let Some(origin) = payload.proposal_id() else { return };
            if !makes_room(&room, &replies, &stop).await {
                return;
            }
            let waiting =
                ReplyTo::Elsewhere { sequence: origin.sequence, replies: replies.clone() };
            let write = inner.raft.write(payload).responder(waiting);
            if write.with_leader(term).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until there is room for another proposal; false when there never will be, as nobody takes
/// the replies any more.
async fn makes_room<T>(
    room: &Semaphore,
    replies: &mpsc::Sender<T>,
    stop: &CancellationToken,
) -> bool {
    let permit = tokio::select! {
        biased;
        permit = room.acquire() => permit.ok(),
        () = replies.closed() => None,
        () = stop.cancelled() => None,
    };
    permit.map(SemaphorePermit::forget).is_some()
}

/// Waits until a member is removed; returns the answer to it.
pub(super) async fn removal(inner: Arc<Inner>, member: u64) -> Status {
    let (mut peers, mut applied) = (inner.peers.clone(), inner.progress.subscribe());
    loop {
        // First in the log, and known for good when it is applied.
        let gone = peers.wait_for(|peers| !peers.contains_key(&member)).await.is_ok();
        if let Some(refusal) = guard::removed(member, &inner.store, &inner.peers) {
            return refusal;
        }
        if !gone || applied.changed().await.is_err() {
            // This member has stopped, and tells nobody anything.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells the other member what became of its proposals, many at once when there are many; and at
/// last, that it was removed.
pub(super) fn replies_of(
    settled: mpsc::Receiver<(u64, Written)>,
    room: Arc<Semaphore>,
    removal: impl Future<Output = Status> + Send + 'static,
) -> impl Stream<Item = Result<pb::ProposalReplies, Status>> + Send {
    let state = Some((settled, room, Box::pin(removal)));
    stream::unfold(state, |state| async move {
        let (mut settled, room, mut removal) = state?;
        let mut batch = Vec::new();
        let count = tokio::select! {
            biased;
            count = settled.recv_many(&mut batch, REPLIES) => count,
            refusal = &mut removal => return Some((Err(refusal), None)),
        };
        if count == 0 {
            return None;
        }
        room.add_permits(count);
        let replies = batch.into_iter().map(|(sequence, result)| {
            let outcome = match result {
                Ok(_) => Outcome::Committed,
                Err(ClientWriteError::ForwardToLeader(_)) => Outcome::NotLeader,
                Err(_) => Outcome::Unknown,
            };
            pb::ProposalReply { sequence, outcome: outcome as i32 }
        });
        let message = pb::ProposalReplies { replies: replies.collect() };
        Some((Ok(message), Some((settled, room, removal))))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_proposal_does_not_wait_for_a_stream_that_is_gone() {
        let (room, stop) = (Semaphore::new(1), CancellationToken::new());
        let (replies, settled) = mpsc::channel::<()>(1);
        assert!(makes_room(&room, &replies, &stop).await);
        let mut waiting = pin!(makes_room(&room, &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "there is no room");
        drop(settled);
        assert!(!waiting.await, "nobody takes replies any more");
        let (replies, _settled) = mpsc::channel::<()>(1);
        let mut waiting = pin!(makes_room(&room, &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "there is no room");
        stop.cancel();
        assert!(!waiting.await, "the member stops");
    }
}
