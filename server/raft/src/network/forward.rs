//! Commands of this member's clients, passed on to the leader.
//!
//! The leader says only what became of a proposal. The answer comes from this member's own state
//! machine, which finds in the log entry who waits for it: so a client sees its own writes here
//! from the moment they are acknowledged.
//!
//! A proposal may enter the log only in the term in which it was passed on. When the leader is lost
//! meanwhile, the first entry of a later term that is applied here tells what became of it: all
//! entries of its own term come before. A client waits for a new leader then, and not in vain.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_proto::peer as pb;
use quorate_proto::peer::proposal_reply::Outcome;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

use super::links::{Link, Links};
use crate::types::{Answer, Origin, Payload};

/// Proposals that wait to be sent; whoever comes later waits for room.
const QUEUE: usize = 4096;
/// Proposals sent in one message.
const BATCH: usize = 256;
/// Bytes of proposals sent in one message, unless a single one is larger.
const BATCH_BYTES: usize = 1 << 20;
/// Messages that wait for the connection.
const MESSAGES: usize = 8;

/// What became of a proposal, as the leader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in the log; the answer will come.
    Committed,
    /// It was not accepted and never will be.
    Refused,
    /// Nobody knows; an answer may still come.
    Unknown,
}

struct Item {
    sequence: u64,
    bytes: Bytes,
    fate: oneshot::Sender<Fate>,
}

/// Whether a command was carried out is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// Who waits for the answer to a forwarded command. Told nothing, it learns that the command was
/// not carried out and never will be.
pub(crate) type Waiter = oneshot::Sender<Result<Answer, Lost>>;

/// Clients of this member that wait for an answer to a forwarded command.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// By sequence, with the term in which the command may enter the log.
    all: BTreeMap<u64, (u64, Waiter)>,
    /// The term of the last entry that was applied.
    term: u64,
}

impl Waiters {
    /// Takes out who waits for the answer to command `sequence`.
    pub(crate) fn take(&self, sequence: u64) -> Option<Waiter> {
        Some(self.0.lock().all.remove(&sequence)?.1)
    }

    /// An entry of `term` was applied, and everything before it: what was to come in an earlier
    /// term never will.
    pub(crate) fn applied(&self, term: u64) {
        let mut waiting = self.0.lock();
        if waiting.term < term {
            waiting.term = term;
            waiting.all.retain(|_, (within, _)| *within >= term);
        }
    }

    /// The state was replaced by a later one, whose last entry is of `term`: nobody knows what of
    /// it was asked for here.
    pub(crate) fn replaced(&self, term: u64) {
        let mut waiting = self.0.lock();
        waiting.term = waiting.term.max(term);
        for (_, waiter) in std::mem::take(&mut waiting.all).into_values() {
            // A client that went away is not missed.
            waiter.send(Err(Lost)).ok();
        }
    }

    /// Takes a place; none when it is too late for a command of `term`.
    fn wait(&self, sequence: u64, term: u64, waiter: Waiter) -> Option<Place<'_>> {
        let mut waiting = self.0.lock();
        if waiting.term > term {
            return None;
        }
        waiting.all.insert(sequence, (term, waiter));
        Some(Place { waiters: self, sequence })
    }
}

/// A place among the waiters, given up when it is dropped.
struct Place<'a> {
    waiters: &'a Waiters,
    sequence: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiters.take(self.sequence);
    }
}

/// Passes commands on.
pub(crate) struct Forwarder {
    links: Arc<Links>,
    waiters: Arc<Waiters>,
    /// Begins anywhere, so that entries of an earlier run of this member find nobody.
    next: AtomicU64,
    way: Mutex<Option<Way>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The way to a leader, in its term.
struct Way {
    leader: u64,
    term: u64,
    items: mpsc::Sender<Item>,
    /// Done when the leader is reached in another way.
    outdated: CancellationToken,
}

impl Forwarder {
    /// A forwarder whose sequence begins at `first`, which should be random. It passes nothing on
    /// after `stop`.
    pub(crate) fn new(
        links: Arc<Links>,
        waiters: Arc<Waiters>,
        first: u64,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let next = AtomicU64::new(first);
        Self { links, waiters, next, way: Mutex::default(), tasks, stop }
    }

    /// Passes a command on to the leader of `term` and waits for the answer of this member's state
    /// machine. `None` when the command did not enter the log and never will.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may be carried out all the same.
    pub(crate) async fn propose(
        &self,
        leader: u64,
        term: u64,
        command: &[u8],
    ) -> Result<Option<Answer>, Lost> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { member: self.links.identity().member_id, sequence };
        let (sender, mut answer) = oneshot::channel();
        let Some(_place) = self.waiters.wait(sequence, term, sender) else { return Ok(None) };
        let (fate, mut told) = oneshot::channel();
        let item = Item { sequence, bytes: Payload::forwarded_bytes(origin, command), fate };
        let Some(items) = self.way(leader, term) else { return Ok(None) };
        if items.send(item).await.is_err() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            answer = &mut answer => return answer.ok().transpose(),
            fate = &mut told => {
                let again = fate == Ok(Fate::Unknown) && planted::has(Mistake::ProposeTwice);
                if fate == Ok(Fate::Refused) || again {
                    return Ok(None);
                }
            }
        }
        tokio::select! {
            answer = answer => answer.ok().transpose(),
            // What a member that was removed asked for before is applied by others alone.
            _ = self.links.notice().posted() => Err(Lost),
        }
    }

    /// The way to the leader of `term`; none when it is no member.
    fn way(&self, leader: u64, term: u64) -> Option<mpsc::Sender<Item>> {
        let mut way = self.way.lock();
        let same = |way: &&Way| {
            let is_usable = !way.items.is_closed() && !way.outdated.is_cancelled();
            (way.leader, way.term) == (leader, term) && is_usable
        };
        if let Some(way) = way.as_ref().filter(same) {
            return Some(way.items.clone());
        }
        // That to an earlier leader ends when nobody holds it.
        *way = None;
        let link = self.links.to(leader)?;
        let outdated = link.outdated.clone();
        let (items, receiver) = mpsc::channel(QUEUE);
        let (links, stop) = (self.links.clone(), self.stop.clone());
        self.tasks.spawn(run(link, Reign { leader, term }, receiver, links, stop));
        *way = Some(Way { leader, term, items: items.clone(), outdated });
        Some(items)
    }
}

/// Who leads, and in which term.
#[derive(Clone, Copy, Debug)]
struct Reign {
    leader: u64,
    term: u64,
}

/// Tells what has left: messages by number, from 0 on. When it is closed none leaves any more.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Passed>>);

#[derive(Default)]
struct Passed {
    messages: u64,
    is_closed: bool,
}

impl Gate {
    fn pass(&self) -> bool {
        let mut passed = self.0.lock();
        passed.messages += u64::from(!passed.is_closed);
        !passed.is_closed
    }

    /// Closes it and returns how many messages have left.
    fn close(&self) -> u64 {
        let mut passed = self.0.lock();
        passed.is_closed = true;
        passed.messages
    }
}

/// Proposals on their way to one leader.
#[derive(Default)]
struct Exchange {
    /// Not in a message yet.
    waiting: VecDeque<Item>,
    /// In a message, by sequence, with the number of the message.
    pending: BTreeMap<u64, (u64, oneshot::Sender<Fate>)>,
    /// How many messages there were.
    messages: u64,
}

/// Sends what comes until the connection fails, nobody sends any more, or `stop`.
async fn run(
    link: Link,
    reign: Reign,
    mut items: mpsc::Receiver<Item>,
    links: Arc<Links>,
    stop: CancellationToken,
) {
    let (messages, outgoing) = mpsc::channel(MESSAGES);
    let gate = Gate::default();
    let passing = gate.clone();
    let outgoing = ReceiverStream::new(outgoing).take_while(move |_| passing.pass());
    let mut exchange = Exchange::default();
    let (stall, mut client) = (links.stall(), link.requests.clone());
    let exchanged = async {
        let called = tokio::time::timeout(stall, client.propose(outgoing));
        let replies = called.await.unwrap_or_else(|_| Err(stalled()))?.into_inner();
        exchange.run(&mut items, reign.term, messages, replies, stall).await
    };
    if let Some(Err(error)) = stop.run_until_cancelled(exchanged).await {
        tracing::debug!(%error, "the way to the leader is lost");
        link.heed(&error);
        if error.code() == Code::DeadlineExceeded {
            links.renew(reign.leader);
        }
    }
    items.close();
    exchange.end(gate.close());
    while let Some(item) = items.recv().await {
        tell(item.fate, Fate::Refused);
    }
}

impl Exchange {
    async fn run(
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
                    // Why, is in the replies.
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

    /// Proposals for one message: one at least, and more while they are small enough for others to
    /// be read between them.
    fn next_message(&mut self) -> Vec<Bytes> {
        let mut proposals = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.waiting.pop_front() {
            bytes += item.bytes.len();
            if !proposals.is_empty() && bytes > BATCH_BYTES {
                self.waiting.push_front(item);
                break;
            }
            self.pending.insert(item.sequence, (self.messages, item.fate));
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
            if let Some((_, waiting)) = self.pending.remove(&reply.sequence) {
                tell(waiting, fate);
            }
        }
    }

    fn refuse_waiting(&mut self) {
        for item in self.waiting.drain(..) {
            tell(item.fate, Fate::Refused);
        }
    }

    /// Nothing is sent or heard any more, and `left` messages have left: what never did can be sent
    /// to somebody else.
    fn end(mut self, left: u64) {
        self.refuse_waiting();
        for (message, waiting) in self.pending.into_values() {
            tell(waiting, if message < left { Fate::Unknown } else { Fate::Refused });
        }
    }
}

/// The leader owes an answer for too long.
fn stalled() -> Status {
    Status::deadline_exceeded("no reply to proposals")
}

fn tell(waiting: oneshot::Sender<Fate>, fate: Fate) {
    // Whoever had its answer already does not listen any more.
    waiting.send(fate).ok();
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    #[test]
    fn who_waits_learns_what_became_of_its_command() {
        let waiters = Waiters::default();
        let wait = |sequence, term| {
            let (sender, receiver) = oneshot::channel();
            waiters.wait(sequence, term, sender).map(|place| (place, receiver))
        };
        let (_first, mut first) = wait(1, 4).expect("it is early enough");
        let (_second, mut second) = wait(2, 5).expect("it is early enough");
        waiters.applied(4);
        assert_eq!(first.try_recv(), Err(TryRecvError::Empty), "it may yet come");
        waiters.applied(5);
        assert_eq!(first.try_recv(), Err(TryRecvError::Closed), "it never will");
        assert_eq!(second.try_recv(), Err(TryRecvError::Empty), "it may yet come");
        assert!(wait(3, 4).is_none(), "it is too late");
        waiters.replaced(6);
        assert_eq!(second.try_recv(), Ok(Err(Lost)), "nobody knows");
        assert!(wait(4, 5).is_none(), "what the state was replaced by is later");
        assert!(waiters.take(2).is_none());
    }
    #[test]
    fn what_a_message_holds_is_bounded_by_bytes_and_what_never_left_is_refused() {
        let mut exchange = Exchange::default();
        let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, 3 * BATCH_BYTES, 1, 1];
        let mut fates = Vec::new();
        for (sequence, size) in (0..).zip(sizes) {
            let (fate, told) = oneshot::channel();
            exchange.waiting.push_back(Item { sequence, bytes: vec![0; size].into(), fate });
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
