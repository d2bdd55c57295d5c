//! Forwards commands of this member's clients to the leader.
//!
//! The leader reports only the outcome of a proposal. The answer comes from this member's own state
//! machine, which finds the waiting request by an id in the log entry. So a client sees its own
//! writes here as soon as they are acknowledged.
//!
//! A proposal may enter the log only in the term in which it was forwarded. If the leader is lost
//! meanwhile, the outcome is known when the first entry of a later term is applied here: all
//! entries of the earlier term come before it. Until then the client waits for a new leader.

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

use super::exchange::{Exchange, Fate, Gate, Item, Undecided, stalled};
use super::link::Link;
use super::links::Links;
use crate::ground::consensus::{Answer, Holding};
use crate::ground::waiters::{Lost, ProposalId, Waiters};
use crate::log::types::Payload;

/// Proposals queued for one leader; more wait for room.
const QUEUE: usize = 4096;
/// Messages queued for the connection.
const MESSAGES: usize = 8;

/// Forwards commands to the leader.
pub(crate) struct Forwarder {
    links: Arc<Links>,
    waiters: Arc<Waiters>,
    /// The next sequence number. Starts at a random number, so that entries from an earlier run of
    /// this member match no waiting request.
    next: AtomicU64,
    way: Mutex<Option<Way>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A stream to the leader of one term.
struct Way {
    leader: u64,
    term: u64,
    items: mpsc::Sender<Item>,
    /// Cancelled when the leader must be called over other connections.
    outdated: CancellationToken,
}

impl Forwarder {
    /// A forwarder whose sequence numbers begin at `first`, which should be random. It forwards
    /// nothing after `stop`.
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

    /// Forwards a command to the leader of `term` and waits for the answer of this member's state
    /// machine. `None` means that the command is not in the log and never will be.
    ///
    /// # Errors
    /// [`Lost`]: it is not known whether the command was or will be applied.
    ///
    /// # Cancel safety
    /// The command may still be applied after the future is dropped. `held` is kept until the
    /// leader has told the outcome.
    pub(crate) async fn propose(
        &self,
        leader: u64,
        term: u64,
        command: &[u8],
        held: &Holding,
    ) -> Result<Option<Answer>, Lost> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let origin = ProposalId { member: self.links.identity().member_id, sequence };
        let (sender, mut answer) = oneshot::channel();
        let Some(_place) = self.waiters.wait(sequence, term, sender) else { return Ok(None) };
        let (fate, mut told) = oneshot::channel();
        let undecided = Undecided::new(fate, held.clone());
        let item = Item { sequence, bytes: Payload::forwarded_bytes(origin, command), undecided };
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
            // Only other members apply what this one proposed before it was removed.
            _ = self.links.notice().posted() => Err(Lost),
        }
    }

    /// The queue to the leader of `term`; `None` if it is not a member.
    fn way(&self, leader: u64, term: u64) -> Option<mpsc::Sender<Item>> {
        let mut way = self.way.lock();
        let same = |way: &&Way| {
            let is_usable = !way.items.is_closed() && !way.outdated.is_cancelled();
            (way.leader, way.term) == (leader, term) && is_usable
        };
        if let Some(way) = way.as_ref().filter(same) {
            return Some(way.items.clone());
        }
        // The previous stream ends when its last sender is dropped.
        *way = None;
        let link = self.links.to(leader)?;
        let outdated = link.outdated.clone();
        let (items, receiver) = mpsc::channel(QUEUE);
        let (links, stop) = (self.links.clone(), self.stop.clone());
        self.tasks.spawn(run(link, Leader { id: leader, term }, receiver, links, stop));
        *way = Some(Way { leader, term, items: items.clone(), outdated });
        Some(items)
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
    link: Link,
    to: Leader,
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
        exchange.run(&mut items, to.term, messages, replies, stall).await
    };
    if let Some(Err(error)) = stop.run_until_cancelled(exchanged).await {
        tracing::debug!(%error, "the way to the leader is lost");
        link.heed(&error);
        if error.code() == Code::DeadlineExceeded {
            links.renew(to.id);
        }
    }
    items.close();
    exchange.end(gate.close());
    while let Some(item) = items.recv().await {
        item.undecided.tell(Fate::Refused);
    }
}
