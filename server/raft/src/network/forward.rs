//! Forwards commands of this member's clients to the leader.
//!
//! The leader reports only the outcome of a proposal. The answer comes from this member's own state
//! machine, which finds the waiting request by an id in the log entry. So a client sees its own
//! writes here as soon as they are acknowledged.
//!
//! A proposal may enter the log only in the term in which it was forwarded. If the leader is lost
//! before it reports the outcome, the outcome is known when the first entry of a later term is
//! applied here: all entries of the earlier term come before it. Until then the client waits for a
//! new leader.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;

use super::peer_channels::PeerChannels;
use super::peer_pool::PeerPool;
use super::proposal_stream::{
    Gate, OutgoingProposal, ProposalOutcome, ProposalStream, Unresolved, stalled,
};
use crate::ground::consensus::{Answer, Holding};
use crate::ground::waiters::{ProposalId, UnknownOutcome, Waiters};
use crate::log::types::Payload;

/// Proposals queued for one leader; more wait for room.
const QUEUE: usize = 4096;
/// Messages queued for the connection.
const MESSAGES: usize = 8;

/// Forwards commands to the leader.
pub(crate) struct Forwarder {
    pool: Arc<PeerPool>,
    waiters: Arc<Waiters>,
    /// The next sequence number. Starts at a random number, so that entries from an earlier run of
    /// this member match no waiting request.
    next: AtomicU64,
    stream: Mutex<Option<LeaderStream>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A stream to the leader of one term.
struct LeaderStream {
    leader: u64,
    term: u64,
    proposals: mpsc::Sender<OutgoingProposal>,
    /// Cancelled when the leader must be called over other connections.
    outdated: CancellationToken,
}

impl Forwarder {
    /// A forwarder whose sequence numbers begin at `first`, which should be random. It forwards
    /// nothing after `stop`.
    pub(crate) fn new(
        pool: Arc<PeerPool>,
        waiters: Arc<Waiters>,
        first: u64,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let next = AtomicU64::new(first);
        Self { pool, waiters, next, stream: Mutex::default(), tasks, stop }
    }

    /// Forwards a command to the leader of `term` and waits for the answer of this member's state
    /// machine. `None` means that the command is not in the log and never will be.
    ///
    /// # Errors
    /// [`UnknownOutcome`]: it is not known whether the command was or will be applied.
    ///
    /// # Cancel safety
    /// The command may still be applied after the future is dropped. `held` is kept until the
    /// outcome is known.
    pub(crate) async fn propose(
        &self,
        leader: u64,
        term: u64,
        command: &[u8],
        held: &Holding,
    ) -> Result<Option<Answer>, UnknownOutcome> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let id = ProposalId { member: self.pool.identity().member_id, sequence };
        let (sender, mut answer) = oneshot::channel();
        let Some(_guard) = self.waiters.register(sequence, term, sender) else { return Ok(None) };
        let (outcome, mut resolved) = oneshot::channel();
        let bytes = Payload::forwarded_bytes(id, command);
        let unresolved = Unresolved::new(outcome, held.clone());
        let proposal = OutgoingProposal { sequence, bytes, unresolved };
        let Some(stream) = self.stream_to(leader, term) else { return Ok(None) };
        if stream.send(proposal).await.is_err() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            answer = &mut answer => return answer.ok().transpose(),
            outcome = &mut resolved => {
                let is_unknown = outcome == Ok(ProposalOutcome::Unknown);
                let again = is_unknown && planted::has(Mistake::ProposeTwice);
                if outcome == Ok(ProposalOutcome::Refused) || again {
                    return Ok(None);
                }
            }
        }
        tokio::select! {
            answer = answer => answer.ok().transpose(),
            // Only the other members apply the proposals of a removed member.
            _ = self.pool.notice().posted() => Err(UnknownOutcome),
        }
    }

    /// The queue to the leader of `term`; `None` if it is not a member.
    fn stream_to(&self, leader: u64, term: u64) -> Option<mpsc::Sender<OutgoingProposal>> {
        let mut stream = self.stream.lock();
        let is_usable = |stream: &&LeaderStream| {
            let is_open = !stream.proposals.is_closed() && !stream.outdated.is_cancelled();
            (stream.leader, stream.term) == (leader, term) && is_open
        };
        if let Some(stream) = stream.as_ref().filter(is_usable) {
            return Some(stream.proposals.clone());
        }
        // The previous stream ends when its last sender is dropped.
        *stream = None;
        let peer = self.pool.peer(leader)?;
        let outdated = peer.outdated.clone();
        let (proposals, receiver) = mpsc::channel(QUEUE);
        let pool = self.pool.clone();
        let stop = self.stop.clone();
        self.tasks.spawn(run(peer, Leader { id: leader, term }, receiver, pool, stop));
        *stream = Some(LeaderStream { leader, term, proposals: proposals.clone(), outdated });
        Some(proposals)
    }
}

/// A leader and its term.
#[derive(Clone, Copy, Debug)]
struct Leader {
    id: u64,
    term: u64,
}

/// Sends proposals until the connection fails, all senders are dropped, or `stop`. Then every
/// proposal without an outcome gets one.
async fn run(
    peer: PeerChannels,
    to: Leader,
    mut proposals: mpsc::Receiver<OutgoingProposal>,
    pool: Arc<PeerPool>,
    stop: CancellationToken,
) {
    let (messages, outgoing) = mpsc::channel(MESSAGES);
    let gate = Gate::default();
    let passing = gate.clone();
    let outgoing = ReceiverStream::new(outgoing).take_while(move |_| passing.pass());
    let mut stream = ProposalStream::default();
    let reply_timeout = pool.reply_timeout();
    let mut client = peer.requests.clone();
    let sent = async {
        let called = tokio::time::timeout(reply_timeout, client.propose(outgoing));
        let replies = called.await.unwrap_or_else(|_| Err(stalled()))?.into_inner();
        stream.run(&mut proposals, to.term, messages, replies, reply_timeout).await
    };
    if let Some(Err(error)) = stop.run_until_cancelled(sent).await {
        tracing::debug!(%error, "the stream of proposals to the leader failed");
        peer.note_exclusion(&error);
        if error.code() == Code::DeadlineExceeded {
            pool.renew(to.id);
        }
    }
    proposals.close();
    stream.end(gate.close());
    while let Some(proposal) = proposals.recv().await {
        proposal.unresolved.resolve(ProposalOutcome::Refused);
    }
}
