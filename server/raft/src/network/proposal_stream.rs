//! A stream of proposals to one leader, and their outcomes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_proto::peer as pb;
use quorate_proto::peer::proposal_reply::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::ground::consensus::Holding;

/// Maximum number of proposals in one message.
const BATCH: usize = 256;
/// Maximum bytes of proposals in one message, unless a single proposal is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Outcome of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProposalOutcome {
    /// The proposal is committed; the state machine will answer.
    Committed,
    /// The proposal is not in the log and never will be.
    Refused,
    /// The outcome is not known; the state machine may still answer.
    Unknown,
}

/// A proposal that is to be sent.
pub(super) struct OutgoingProposal {
    pub(super) sequence: u64,
    pub(super) bytes: Bytes,
    pub(super) unresolved: Unresolved,
}

/// A proposal whose outcome is not known yet.
pub(super) struct Unresolved {
    outcome: oneshot::Sender<ProposalOutcome>,
    /// Kept until the outcome is known, even if the client has gone: the proposal stays queued.
    _held: Holding,
}

impl Unresolved {
    pub(super) fn new(outcome: oneshot::Sender<ProposalOutcome>, held: Holding) -> Self {
        Self { outcome, _held: held }
    }

    /// Reports the outcome.
    pub(super) fn resolve(self, outcome: ProposalOutcome) {
        // A client that has its answer no longer listens.
        self.outcome.send(outcome).ok();
    }
}

/// Counts the messages that were sent, numbered from 0. A closed gate lets no message pass.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Passed>>);

#[derive(Default)]
struct Passed {
    messages: u64,
    is_closed: bool,
}

impl Gate {
    /// Counts one more message; false if the gate is closed.
    pub(super) fn pass(&self) -> bool {
        let mut passed = self.0.lock();
        passed.messages += u64::from(!passed.is_closed);
        !passed.is_closed
    }

    /// Closes the gate. Returns how many messages passed.
    pub(super) fn close(&self) -> u64 {
        let mut passed = self.0.lock();
        passed.is_closed = true;
        passed.messages
    }
}

/// Proposals to one leader without an outcome.
#[derive(Default)]
pub(super) struct ProposalStream {
    /// Proposals that are in no message yet.
    waiting: VecDeque<OutgoingProposal>,
    /// Proposals in messages, by sequence number, with the number of the message.
    pending: BTreeMap<u64, (u64, Unresolved)>,
    /// Number of messages made so far.
    messages: u64,
}

impl ProposalStream {
    /// Sends the proposals in messages, and resolves them by the replies. Ends when all senders of
    /// `proposals` are dropped and every proposal is resolved, or when the call ends.
    ///
    /// # Errors
    /// The call fails, or a reply takes longer than `reply_timeout`.
    pub(super) async fn run(
        &mut self,
        proposals: &mut mpsc::Receiver<OutgoingProposal>,
        term: u64,
        messages: mpsc::Sender<pb::Proposals>,
        mut replies: Streaming<pb::ProposalReplies>,
        reply_timeout: Duration,
    ) -> Result<(), Status> {
        let mut last_reply = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        let mut is_open = true;
        while is_open || !self.is_idle() {
            tokio::select! {
                count = proposals.recv_many(&mut batch, BATCH),
                    if is_open && self.waiting.is_empty() =>
                {
                    is_open = count > 0;
                    if self.is_idle() {
                        last_reply = Instant::now();
                    }
                    self.waiting.extend(batch.drain(..));
                }
                room = messages.reserve(), if !self.waiting.is_empty() => match room {
                    Ok(room) => room.send(pb::Proposals { proposals: self.next_message(), term }),
                    // The call has ended; the replies say why.
                    Err(_) => {
                        is_open = false;
                        self.refuse_waiting();
                    }
                },
                reply = replies.message() => {
                    last_reply = Instant::now();
                    match reply? {
                        Some(message) => self.settle(message),
                        None => return Ok(()),
                    }
                }
                () = tokio::time::sleep_until(last_reply + reply_timeout), if !self.is_idle() => {
                    return Err(stalled());
                }
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.pending.is_empty()
    }

    /// Proposals for the next message: at least one, and more up to [`BATCH_BYTES`], so that the
    /// receiver can read other messages in between.
    fn next_message(&mut self) -> Vec<Bytes> {
        let mut proposals = Vec::new();
        let mut bytes = 0;
        while let Some(proposal) = self.waiting.pop_front() {
            bytes += proposal.bytes.len();
            if !proposals.is_empty() && bytes > BATCH_BYTES {
                self.waiting.push_front(proposal);
                break;
            }
            self.pending.insert(proposal.sequence, (self.messages, proposal.unresolved));
            proposals.push(proposal.bytes);
        }
        self.messages += 1;
        proposals
    }

    fn settle(&mut self, message: pb::ProposalReplies) {
        for reply in message.replies {
            let outcome = match reply.outcome() {
                Outcome::Committed => ProposalOutcome::Committed,
                Outcome::NotLeader => ProposalOutcome::Refused,
                Outcome::Unknown => ProposalOutcome::Unknown,
            };
            if let Some((_, waiting)) = self.pending.remove(&reply.sequence) {
                waiting.resolve(outcome);
            }
        }
    }

    fn refuse_waiting(&mut self) {
        for proposal in self.waiting.drain(..) {
            proposal.unresolved.resolve(ProposalOutcome::Refused);
        }
    }

    /// Ends the stream after its first `sent` messages were sent. Unsent proposals are refused:
    /// they can go to another leader. The outcome of the others is unknown.
    pub(super) fn end(mut self, sent: u64) {
        self.refuse_waiting();
        for (message, waiting) in self.pending.into_values() {
            let was_sent = message < sent;
            let outcome =
                if was_sent { ProposalOutcome::Unknown } else { ProposalOutcome::Refused };
            waiting.resolve(outcome);
        }
    }
}

/// The error for a leader whose reply is overdue.
pub(super) fn stalled() -> Status {
    Status::deadline_exceeded("no reply to proposals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_unsent_proposals_are_refused() {
        let mut stream = ProposalStream::default();
        let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, 3 * BATCH_BYTES, 1, 1];
        let mut outcomes = Vec::new();
        for (sequence, size) in (0..).zip(sizes) {
            let (outcome, resolved) = oneshot::channel();
            stream.waiting.push_back(OutgoingProposal {
                sequence,
                bytes: vec![0; size].into(),
                unresolved: Unresolved::new(outcome, Holding::default()),
            });
            outcomes.push(resolved);
        }
        let counts = [(); 3].map(|()| stream.next_message().len());
        assert_eq!(counts, [2, 1, 1], "one that is too large goes alone");
        let gate = Gate::default();
        assert!(gate.pass() && gate.pass());
        let sent = gate.close();
        assert!(!gate.pass(), "nothing leaves any more");
        stream.end(sent);
        let outcomes = outcomes.into_iter().map(|mut resolved| resolved.try_recv().unwrap());
        let unknown = ProposalOutcome::Unknown;
        let refused = ProposalOutcome::Refused;
        let expected = [unknown, unknown, unknown, refused, refused, refused];
        assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    }
}
