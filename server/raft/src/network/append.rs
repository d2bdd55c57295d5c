//! Streams of entries, a few requests ahead of their replies.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::AnyError;
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use prost::Message;
use quorate_proto::peer as pb;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::links::{Client, Flow};
use super::{MESSAGE_BYTES_MAX, codec};
use crate::types::{LogId, TypeConfig};

pub(crate) type Error = RPCError<TypeConfig>;
pub(crate) type Appended = Result<StreamAppendResult<TypeConfig>, Error>;

/// Requests that may be under way to one member. With more, what could go out as one request is
/// cut into many small ones; two keep both sides busy, and the third hides the way between them.
const APPENDS_MAX: usize = 3;

/// Sends requests as they come and gives back what becomes of each.
///
/// The first request is awaited before anything is sent: openraft lets the time pass in it that a
/// member that cannot be reached is to be left alone. A member that owes a reply for longer than
/// `stall` is given up. Nothing is sent while `flow` says so; and the stream to a member that has
/// not come to its floor ends, so that openraft, which forgets nothing that is on its way, can let
/// the log go and send a snapshot.
pub(crate) async fn append<S>(
    mut client: Client,
    requests: S,
    stall: Duration,
    mut flow: watch::Receiver<Flow>,
) -> Result<impl Stream<Item = Appended> + Send, Error>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let mut requests = begun(requests).await;
    let Some(first) = unless_silent(&mut requests, &mut flow).await else {
        return Ok(stream::empty().left_stream());
    };
    let (mine, reached) = (first.vote, first.prev_log_id.map_or(0, |id| id.index()));
    let (sender, outgoing) = mpsc::channel(APPENDS_MAX);
    let sent = codec::last_of(&first);
    sender.try_send(to_wire(first)).expect("the queue is empty");
    let called = tokio::time::timeout(stall, client.append(ReceiverStream::new(outgoing))).await;
    let late = |_| Err(Status::deadline_exceeded("no reply to a stream of entries"));
    let replies = called.unwrap_or_else(late).map_err(|status| failed(&status))?.into_inner();
    let (sender, heard) = (Some(sender), Instant::now());
    let exchange =
        Exchange { requests, flow, reached, sender, replies, owed: 1, sent, heard, stall };
    let appended = stream::unfold(Some(exchange), move |exchange| async move {
        let mut exchange = exchange?;
        match exchange.next().await? {
            Ok(reply) => match codec::reply_from_wire(reply) {
                Ok(Ok(durable)) if durable > exchange.sent => {
                    let status = Status::invalid_argument("more is durable than was sent");
                    Some((Err(failed(&status)), None))
                }
                reply => {
                    let reply = reply.and_then(|reply| match &reply {
                        Err(StreamAppendError::HigherVote(vote)) => {
                            codec::check_term(vote, &mine).map(|()| reply)
                        }
                        _ => Ok(reply),
                    });
                    if let Ok(Ok(Some(id))) = &reply {
                        exchange.reached = id.index();
                    }
                    Some((reply.map_err(|error| malformed(&error)), Some(exchange)))
                }
            },
            Err(status) => Some((Err(failed(&status)), None)),
        }
    });
    Ok(appended.fuse().right_stream())
}

/// The same items, as soon as there is a first one or there will be none. openraft's streams may
/// not be asked again once they have ended, which they do without an item when the leader is
/// another.
async fn begun<S: Stream + Unpin>(items: S) -> impl Stream<Item = S::Item> + use<S> + Unpin {
    let mut items = items.fuse();
    let first = stream::iter(items.next().await);
    first.chain(items)
}

/// The next item, once nobody keeps silent.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
async fn unless_silent<S: Stream + Unpin>(
    items: &mut S,
    flow: &mut watch::Receiver<Flow>,
) -> Option<S::Item> {
    // An error is the end of the member.
    flow.wait_for(|flow| !flow.is_silent).await.ok()?;
    items.next().await
}

/// Requests on their way, and replies to them.
struct Exchange<S> {
    requests: S,
    flow: watch::Receiver<Flow>,
    /// Index up to which the member is known to have the log.
    reached: u64,
    /// Holds what is not sent yet; none when there are no more requests.
    sender: Option<mpsc::Sender<pb::AppendRequest>>,
    replies: Streaming<pb::AppendReply>,
    /// Requests without a reply, sent or not.
    owed: usize,
    /// Where the last request ends: nothing behind it can be durable at the other member.
    sent: Option<LogId>,
    /// When the last reply came, or a reply, or the end of them, began to be owed.
    heard: Instant,
    stall: Duration,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Exchange<S> {
    /// The next reply. Takes requests meanwhile, as late as possible: one that is made later holds
    /// newer entries.
    async fn next(&mut self) -> Option<Result<pb::AppendReply, Status>> {
        loop {
            let takes_requests = self.sender.is_some() && self.owed < APPENDS_MAX;
            let is_owed = self.owed > 0 || self.sender.is_none();
            let (mut floor, reached) = (self.flow.clone(), self.reached);
            tokio::select! {
                reply = self.replies.message() => {
                    self.owed = self.owed.saturating_sub(1);
                    self.heard = Instant::now();
                    return reply.transpose();
                }
                Ok(_) = floor.wait_for(|flow| flow.floor > reached) => {
                    return Some(Err(Status::unavailable("it is to have a snapshot instead")));
                }
                request = unless_silent(&mut self.requests, &mut self.flow),
                    if takes_requests => self.send(request),
                () = tokio::time::sleep_until(self.heard + self.stall), if is_owed => {
                    return Some(Err(Status::deadline_exceeded("no reply to entries")));
                }
            }
        }
    }

    fn send(&mut self, request: Option<AppendEntriesRequest<TypeConfig>>) {
        if self.owed == 0 {
            self.heard = Instant::now();
        }
        let Some(request) = request else {
            self.sender = None;
            return;
        };
        self.owed += 1;
        self.sent = codec::last_of(&request).max(self.sent);
        if let Some(sender) = &self.sender {
            // There is room for all that may be owed; and who does not listen, will not reply.
            sender.try_send(to_wire(request)).ok();
        }
    }
}

fn to_wire(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    let message = codec::append_to_wire(request);
    if message.encoded_len() > MESSAGE_BYTES_MAX {
        let (bytes, limit) = (message.encoded_len(), MESSAGE_BYTES_MAX);
        let first = message.entries.first().and_then(|entry| entry.id).map_or(0, |id| id.index);
        tracing::warn!(first, bytes, limit, "entries are too large for a message to a member");
    }
    message
}

/// How openraft is to see a failure: a member that cannot be reached is left alone for a while.
pub(crate) fn failed(status: &Status) -> Error {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::FailedPrecondition => {
            RPCError::Unreachable(Unreachable::new(&AnyError::new(status)))
        }
        _ => RPCError::Network(NetworkError::new(&AnyError::new(status))),
    }
}

pub(crate) fn malformed(error: &codec::Malformed) -> Error {
    RPCError::Network(NetworkError::new(&AnyError::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_ended_is_not_asked_again() {
        for count in 0..3 {
            // Panics when it is asked after its end.
            let items = stream::unfold(0, |n| async move { (n < count).then_some((n, n + 1)) });
            let begun = begun(Box::pin(items)).await;
            assert_eq!(begun.collect::<Vec<_>>().await, (0..count).collect::<Vec<_>>());
        }
    }
}
