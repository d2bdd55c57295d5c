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

/// Most proposals in one message.
const BATCH: usize = 256;
/// Most bytes of proposals in one message, unless a single proposal is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Outcome of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is committed; the state machine will answer.
    Committed,
    /// It is not in the log and never will be.
    Refused,
    /// Not known; the state machine may still answer.
    Unknown,
}

pub(super) struct Item {
    pub(super) sequence: u64,
    pub(super) bytes: Bytes,
    pub(super) undecided: Undecided,
}

/// A proposal whose outcome is not known yet.
pub(super) struct Undecided {
    fate: oneshot::Sender<Fate>,
    /// Kept until the outcome is known, even if the client has gone: the proposal stays queued.
    _held: Holding,
}

impl Undecided {
    pub(super) fn new(fate: oneshot::Sender<Fate>, held: Holding) -> Self {
        Self { fate, _held: held }
    }

    pub(super) fn tell(self, fate: Fate) {
        // A client that has its answer no longer listens.
        self.fate.send(fate).ok();
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
pub(super) struct Exchange {
    /// Not in a message yet.
    waiting: VecDeque<Item>,
    /// In a message: by sequence number, with the number of the message.
    pending: BTreeMap<u64, (u64, Undecided)>,
    /// Number of messages made so far.
    messages: u64,
}

impl Exchange {
    pub(super) async fn run(
        &mut self,
        items: &mut mpsc::Receiver<Item>,
        term: u64,
        messages: mpsc::Sender<pb::Proposals>,
        mut replies: Streaming<pb::ProposalReplies>,
        stall: Duration,
    ) -> Result<(), Status> {
        let mut heard = Instant::now();
        let mut batch = Vec::with_capacity(BATCH);
        let mut is_open = true;
        while is_open || !self.is_idle() {
            tokio::select! {
                count = items.recv_many(&mut batch, BATCH),
                    if is_open && self.waiting.is_empty() =>
                {
                    is_open = count > 0;
                    if self.is_idle() {
                        heard = Instant::now();
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
                    heard = Instant::now();
                    match reply? {
                        Some(message) => self.settle(message),
                        None => return Ok(()),
                    }
                }
                () = tokio::time::sleep_until(heard + stall), if !self.is_idle() => {
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
        while let Some(item) = self.waiting.pop_front() {
            bytes += item.bytes.len();
            if !proposals.is_empty() && bytes > BATCH_BYTES {
                self.waiting.push_front(item);
                break;
            }
            self.pending.insert(item.sequence, (self.messages, item.undecided));
            proposals.push(item.bytes);
        }
        self.messages += 1;
        proposals
    }

    fn settle(&mut self, message: pb::ProposalReplies) {
        for reply in message.replies {
            let fate = match reply.outcome() {
                Outcome::Committed => Fate::Committed,
                Outcome::NotLeader => Fate::Refused,
                Outcome::Unknown => Fate::Unknown,
            };
            if let Some((_, undecided)) = self.pending.remove(&reply.sequence) {
                undecided.tell(fate);
            }
        }
    }

    fn refuse_waiting(&mut self) {
        for item in self.waiting.drain(..) {
            item.undecided.tell(Fate::Refused);
        }
    }

    /// Ends the exchange, of which `left` messages were sent. Unsent proposals are refused: they
    /// can go to another leader. The outcome of the others is unknown.
    pub(super) fn end(mut self, left: u64) {
        self.refuse_waiting();
        for (message, undecided) in self.pending.into_values() {
            undecided.tell(if message < left { Fate::Unknown } else { Fate::Refused });
        }
    }
}

/// The error for a leader that owes a reply for too long.
pub(super) fn stalled() -> Status {
    Status::deadline_exceeded("no reply to proposals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_holds_is_bounded_by_bytes_and_what_never_left_is_refused() {
        let mut exchange = Exchange::default();
        let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, 3 * BATCH_BYTES, 1, 1];
        let mut fates = Vec::new();
        for (sequence, size) in (0..).zip(sizes) {
            let (fate, told) = oneshot::channel();
            let undecided = Undecided::new(fate, Holding::default());
            exchange.waiting.push_back(Item { sequence, bytes: vec![0; size].into(), undecided });
            fates.push(told);
        }
        let counts = [(); 3].map(|()| exchange.next_message().len());
        assert_eq!(counts, [2, 1, 1], "one that is too large goes alone");
        let gate = Gate::default();
        assert!(gate.pass() && gate.pass());
        let left = gate.close();
        assert!(!gate.pass(), "nothing leaves any more");
        exchange.end(left);
        let fates = fates.into_iter().map(|mut told| told.try_recv().unwrap());
        let (unknown, refused) = (Fate::Unknown, Fate::Refused);
        let expected = [unknown, unknown, unknown, refused, refused, refused];
        assert_eq!(fates.collect::<Vec<_>>(), expected);
    }
}
