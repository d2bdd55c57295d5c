//! Commands of this member's clients, passed on to the leader.
//!
//! The leader says only what became of a proposal. The answer comes from this member's own state
//! machine, which finds in the log entry who waits for it: so a client sees its own writes here
//! from the moment they are acknowledged.

use std::collections::BTreeMap;
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
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Streaming;

use super::links::{Client, Links};
use crate::types::{Answer, Origin, Payload};

/// Proposals that wait to be sent; whoever comes later waits for room.
const QUEUE: usize = 4096;
/// Proposals sent in one message.
const BATCH: usize = 256;
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

/// Clients of this member that wait for an answer to a forwarded command.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>);

impl Waiters {
    /// Takes out who waits for the answer to command `sequence`.
    pub(crate) fn take(&self, sequence: u64) -> Option<oneshot::Sender<Answer>> {
        self.0.lock().remove(&sequence)
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
    streams: Mutex<BTreeMap<u64, mpsc::Sender<Item>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Forwarder {
    /// A forwarder whose sequence begins at `first`, which should be random. It ends with `stop`.
    pub(crate) fn new(
        links: Arc<Links>,
        waiters: Arc<Waiters>,
        first: u64,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let next = AtomicU64::new(first);
        Self { links, waiters, next, streams: Mutex::default(), tasks, stop }
    }

    /// Passes a command on to `leader` and waits for the answer of this member's state machine.
    /// `None` when the command did not enter the log and never will.
    ///
    /// # Cancel safety
    /// A command whose future is dropped may be carried out all the same.
    pub(crate) async fn propose(&self, leader: u64, command: &[u8]) -> Option<Answer> {
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let origin = Origin { member: self.links.identity().member_id, sequence };
        let (sender, mut answer) = oneshot::channel();
        self.waiters.0.lock().insert(sequence, sender);
        let _place = Place { waiters: &self.waiters, sequence };
        let (fate, mut told) = oneshot::channel();
        let item = Item { sequence, bytes: Payload::forwarded_bytes(origin, command), fate };
        self.stream(leader)?.send(item).await.ok()?;
        tokio::select! {
            biased;
            answer = &mut answer => return answer.ok(),
            fate = &mut told => {
                let again = fate == Ok(Fate::Unknown) && planted::has(Mistake::ProposeTwice);
                if fate == Ok(Fate::Refused) || again {
                    return None;
                }
            }
        }
        answer.await.ok()
    }

    /// The way to `leader`; none when it is no member.
    fn stream(&self, leader: u64) -> Option<mpsc::Sender<Item>> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(&leader).filter(|stream| !stream.is_closed()) {
            return Some(stream.clone());
        }
        // Those to earlier leaders end when nobody holds them.
        streams.clear();
        let client = self.links.to(leader)?.requests;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (stop, links) = (self.stop.clone(), self.links.clone());
        let pass_on = async move {
            if run(client, receiver, links.stall()).await == End::Stalled {
                links.renew(leader);
            }
        };
        self.tasks.spawn(async move { stop.run_until_cancelled(pass_on).await });
        streams.insert(leader, sender.clone());
        Some(sender)
    }
}

/// How a stream of proposals ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection failed, or nobody sends any more.
    Closed,
    /// The leader owed an answer for too long.
    Stalled,
}

/// Sends what comes until the connection fails, nobody sends any more, or no answer comes for
/// `stall`.
async fn run(mut client: Client, mut items: mpsc::Receiver<Item>, stall: Duration) -> End {
    let (messages, outgoing) = mpsc::channel(MESSAGES);
    let mut pending = BTreeMap::new();
    let mut end = End::Closed;
    match tokio::time::timeout(stall, client.propose(ReceiverStream::new(outgoing))).await {
        Ok(Ok(replies)) => {
            let replies = replies.into_inner();
            end = exchange(&mut items, messages, replies, &mut pending, stall).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "cannot pass commands on"),
        Err(_) => end = End::Stalled,
    }
    items.close();
    for fate in pending.into_values() {
        tell(fate, Fate::Unknown);
    }
    // What was never sent can be sent to somebody else.
    while let Some(item) = items.recv().await {
        tell(item.fate, Fate::Refused);
    }
    end
}

async fn exchange(
    items: &mut mpsc::Receiver<Item>,
    messages: mpsc::Sender<pb::Proposals>,
    mut replies: Streaming<pb::ProposalReplies>,
    pending: &mut BTreeMap<u64, oneshot::Sender<Fate>>,
    stall: Duration,
) -> End {
    let mut heard = Instant::now();
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        tokio::select! {
            count = items.recv_many(&mut batch, BATCH), if is_open => {
                is_open = count > 0;
                if pending.is_empty() {
                    heard = Instant::now();
                }
                let mut proposals = Vec::with_capacity(count);
                for item in batch.drain(..) {
                    pending.insert(item.sequence, item.fate);
                    proposals.push(item.bytes);
                }
                if count > 0 && messages.send(pb::Proposals { proposals }).await.is_err() {
                    return End::Closed;
                }
            }
            reply = replies.message() => match reply {
                Ok(Some(message)) => {
                    heard = Instant::now();
                    settle(message, pending);
                }
                Ok(None) => return End::Closed,
                Err(error) => {
                    tracing::debug!(%error, "the way to the leader is lost");
                    return End::Closed;
                }
            },
            () = tokio::time::sleep_until(heard + stall), if !pending.is_empty() => {
                return End::Stalled;
            }
        }
    }
    End::Closed
}

fn settle(message: pb::ProposalReplies, pending: &mut BTreeMap<u64, oneshot::Sender<Fate>>) {
    for reply in message.replies {
        let fate = match reply.outcome() {
            Outcome::Committed => Fate::Committed,
            Outcome::NotLeader => Fate::Refused,
            Outcome::Unknown => Fate::Unknown,
        };
        if let Some(waiting) = pending.remove(&reply.sequence) {
            tell(waiting, fate);
        }
    }
}

fn tell(waiting: oneshot::Sender<Fate>, fate: Fate) {
    // Whoever had its answer already does not listen any more.
    waiting.send(fate).ok();
}
