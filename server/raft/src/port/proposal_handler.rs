//! Proposals that other members forward for their clients.

use std::future::Future;
use std::sync::Arc;

use futures_util::{Stream, stream};
use openraft::errors::ClientWriteError;
use quorate_proto::peer as pb;
use quorate_proto::peer::proposal_reply::Outcome;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use super::guard::Guard;
use super::validator::Validator;
use crate::consensus::adapter::OpenRaft;
use crate::consensus::protocol::Written;
use crate::ground::progress::Progress;
use crate::log::types::ReplyTo;

/// Maximum number of proposals in flight on one stream.
const PROPOSALS_MAX: usize = 16 << 10;
/// Maximum bytes of proposals in flight on one stream. A larger proposal goes alone.
const BYTES_MAX: u32 = 256 << 20;
/// Maximum number of replies in one message.
const REPLIES: usize = 512;

/// Proposes the commands that other members forward.
#[derive(Clone)]
pub(crate) struct ProposalHandler {
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) progress: Progress,
    pub(crate) tasks: TaskTracker,
    /// When this is cancelled, no more proposals are taken.
    pub(crate) closing_streams: CancellationToken,
}

impl ProposalHandler {
    /// Proposes the commands of a stream, and yields their outcomes.
    pub(super) fn answer(
        &self,
        from: u64,
        messages: Streaming<pb::Proposals>,
    ) -> impl Stream<Item = Result<pb::ProposalReplies, Status>> + Send + use<> {
        let (replies, settled) = mpsc::channel(PROPOSALS_MAX);
        let room = Arc::new(Semaphore::new(PROPOSALS_MAX));
        let removal = self.guard.clone().removal(from, self.progress.clone());
        self.tasks.spawn(self.clone().receive(from, messages, replies, room.clone()));
        replies_of(settled, room, removal)
    }

    async fn receive(
        self,
        from: u64,
        mut messages: Streaming<pb::Proposals>,
        replies: mpsc::Sender<(u64, Written)>,
        room: Arc<Semaphore>,
    ) {
        let closing_streams = &self.closing_streams;
        let space = Arc::new(Semaphore::new(BYTES_MAX as usize));
        while let Some(Ok(Some(message))) =
            closing_streams.run_until_cancelled(messages.message()).await
        {
            for bytes in message.proposals {
                let length = u32::try_from(bytes.len()).unwrap_or(BYTES_MAX).min(BYTES_MAX);
                let payload = match self.validator.proposal(from, bytes) {
                    Ok(payload) => payload,
                    Err(refusal) => return self.guard.log(&refusal),
                };
                let Some(id) = payload.proposal_id() else { return };
                let taken = take_room(&room, &space, length);
                let Some(bytes) = unless_over(taken, &replies, closing_streams).await else {
                    return;
                };
                let replies = replies.clone();
                let reply_to = ReplyTo::Remote { sequence: id.sequence, replies, bytes };
                let proposed = self.consensus.propose_for(payload, message.term, reply_to).await;
                if proposed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits for room for another proposal: a place, which its reply gives back, and bytes.
async fn take_room(
    room: &Semaphore,
    space: &Arc<Semaphore>,
    bytes: u32,
) -> Option<OwnedSemaphorePermit> {
    let bytes = space.clone().acquire_many_owned(bytes).await.ok()?;
    room.acquire().await.map(SemaphorePermit::forget).ok()?;
    Some(bytes)
}

/// Waits for room; `None` if there will be none, because the replies are no longer read or the
/// member stops.
async fn unless_over<T, R>(
    room: impl Future<Output = Option<R>>,
    replies: &mpsc::Sender<T>,
    stop: &CancellationToken,
) -> Option<R> {
    tokio::select! {
        biased;
        room = room => room,
        () = replies.closed() => None,
        () = stop.cancelled() => None,
    }
}

/// Yields the outcomes of proposals, many in one message if many are ready. Ends with a refusal if
/// the other member is removed.
fn replies_of(
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
    async fn a_proposal_does_not_wait_for_an_ended_stream() {
        let room = Semaphore::new(3);
        let stop = CancellationToken::new();
        let space = Arc::new(Semaphore::new(10));
        let (replies, settled) = mpsc::channel::<()>(1);
        let take = || take_room(&room, &space, 6);
        let first = unless_over(take(), &replies, &stop).await.expect("there is room");
        let mut waiting = pin!(unless_over(take(), &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "too many bytes are in flight");
        drop(settled);
        assert!(waiting.await.is_none(), "the replies are not read any more");
        drop(first);
        let (replies, _settled) = mpsc::channel::<()>(1);
        for _ in 0..2 {
            assert!(unless_over(take(), &replies, &stop).await.is_some());
        }
        let mut waiting = pin!(unless_over(take(), &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "too many are in flight");
        stop.cancel();
        assert!(waiting.await.is_none(), "the member stops");
    }
}
