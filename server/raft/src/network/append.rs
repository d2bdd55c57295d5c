//! Replication streams: append requests, sent a few ahead of their replies.

use std::collections::VecDeque;
use std::fmt::Debug;
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

use super::calls::Client;
use super::flow::Flow;
use super::{MESSAGE_BYTES_MAX, codec};
use crate::log::types::{LogId, TypeConfig};

pub(crate) type Error = RPCError<TypeConfig>;
pub(crate) type Appended = Result<StreamAppendResult<TypeConfig>, Error>;

/// Append requests in flight to one member. With more, openraft would send many small requests
/// instead of one. Two keep both sides busy; the third hides the network latency.
const APPENDS_MAX: usize = 3;

/// Sends append requests as openraft makes them, and yields the result of each.
///
/// Calls the member only after the first request: openraft delays that one as its backoff for an
/// unreachable member. The stream fails if a reply takes longer than `reply_timeout`. It sends
/// nothing while `flow` is silent. It also ends if the member's log is behind the floor of `flow`:
/// openraft purges no entry that a stream is sending, so it can purge the log and send a snapshot
/// only after the end of the stream.
///
/// # Errors
/// The call fails, or is not answered within `reply_timeout`.
pub(crate) async fn append<S>(
    mut client: Client,
    requests: S,
    reply_timeout: Duration,
    mut flow: watch::Receiver<Flow>,
) -> Result<impl Stream<Item = Appended> + Send, Error>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let mut requests = await_first(requests).await;
    let Some(first) = unless_silent(&mut requests, &mut flow).await else {
        return Ok(stream::empty().left_stream());
    };
    let mine = first.vote;
    let reached = first.prev_log_id.map_or(0, |id| id.index());
    let (sender, outgoing) = mpsc::channel(APPENDS_MAX);
    let sent = codec::last_of(&first);
    let mut pending = PendingRequests::default();
    pending.add(&first);
    sender.try_send(to_wire(first)).expect("the queue is empty");
    let called =
        tokio::time::timeout(reply_timeout, client.append(ReceiverStream::new(outgoing))).await;
    let late = |_| Err(Status::deadline_exceeded("no reply to a stream of entries"));
    let replies = called.unwrap_or_else(late).map_err(|status| failed(&status))?.into_inner();
    let stream = ReplicationStream {
        requests,
        flow,
        reached,
        sender: Some(sender),
        replies,
        pending,
        sent,
        last_reply: Instant::now(),
        reply_timeout,
    };
    let appended = stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        loop {
            let reply = match stream.next().await? {
                Ok(reply) => codec::reply_from_wire(reply),
                Err(status) => return Some((Err(failed(&status)), None)),
            };
            let asked = stream.pending.answered();
            return match reply {
                Ok(Ok(durable)) if durable > stream.sent => {
                    let text = "the member reports entries as durable that were not sent to it";
                    let status = Status::invalid_argument(text);
                    Some((Err(failed(&status)), None))
                }
                Ok(Ok(durable)) => {
                    stream.reached = durable.map_or(stream.reached, |id| id.index());
                    match stream.pending.report(durable, asked) {
                        Some(durable) => Some((Ok(Ok(durable)), Some(stream))),
                        None => continue,
                    }
                }
                reply => {
                    let reply = reply.and_then(|reply| match &reply {
                        Err(StreamAppendError::HigherVote(vote)) => {
                            codec::check_term(vote, &mine).map(|()| reply)
                        }
                        _ => Ok(reply),
                    });
                    Some((reply.map_err(|error| malformed(&error)), Some(stream)))
                }
            };
        }
    });
    Ok(appended.fuse().right_stream())
}

/// Waits for the first item or the end, and returns the same items as a fused stream: openraft's
/// streams must not be polled after their end, and they end without an item if the leader has
/// changed.
async fn await_first<S: Stream + Unpin>(items: S) -> impl Stream<Item = S::Item> + use<S> + Unpin {
    let mut items = items.fuse();
    let first = stream::iter(items.next().await);
    first.chain(items)
}

/// The next item, taken when `flow` is not silent. `None` if the items end or the member stops.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
async fn unless_silent<S: Stream + Unpin>(
    items: &mut S,
    flow: &mut watch::Receiver<Flow>,
) -> Option<S::Item> {
    // This fails only when the member stops.
    flow.wait_for(|flow| !flow.is_silent).await.ok()?;
    items.next().await
}

/// The part of the log that a request covers: after `previous`, up to `last`.
#[derive(Clone, Copy, Debug)]
struct RequestRange {
    previous: Option<LogId>,
    last: Option<LogId>,
}

/// Requests that have no reply yet, sent or not, in the order in which openraft made them.
///
/// openraft takes a reply as the reply to every request that ends at the same entry, and as proof
/// that this member led when the last of them was made. A request without entries ends where the
/// request before it ends. So openraft once confirmed reads by a reply from before a pause, which
/// it took for the reply to a request from after the pause. The other member followed a later
/// leader by then, and had never received that request.
#[derive(Debug, Default)]
struct PendingRequests(VecDeque<RequestRange>);

impl PendingRequests {
    fn add(&mut self, request: &AppendEntriesRequest<TypeConfig>) {
        let previous = request.prev_log_id;
        let last = codec::last_of(request);
        self.0.push_back(RequestRange { previous, last });
    }

    /// Removes the oldest request, which the next reply answers.
    fn answered(&mut self) -> Option<RequestRange> {
        self.0.pop_front()
    }

    /// The position to report to openraft for the reply to `asked`: `durable`, the position in the
    /// reply, but at most the end of `asked`. `None` if openraft would also take it for the reply
    /// to a later request: the reply to the later request repeats the position.
    fn report(&self, durable: Option<LogId>, asked: Option<RequestRange>) -> Option<Option<LogId>> {
        let durable = asked.map_or(durable, |asked| durable.min(asked.last));
        let passes = |later: &RequestRange| later.last <= durable || later.previous < durable;
        (!self.0.iter().any(passes)).then_some(durable)
    }
}

/// A replication stream in progress.
struct ReplicationStream<S> {
    requests: S,
    flow: watch::Receiver<Flow>,
    /// The member is known to have the log up to this index.
    reached: u64,
    /// Queue of the outgoing stream; `None` after the last request.
    sender: Option<mpsc::Sender<pb::AppendRequest>>,
    replies: Streaming<pb::AppendReply>,
    pending: PendingRequests,
    /// End of the last request: the member cannot have durable entries after it.
    sent: Option<LogId>,
    /// When the wait for the next reply, or for the end of the replies, began.
    last_reply: Instant,
    reply_timeout: Duration,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> ReplicationStream<S> {
    /// Waits for the next reply, and sends requests during the wait. Takes a request from openraft
    /// as late as possible: a request that is made later has newer entries.
    async fn next(&mut self) -> Option<Result<pb::AppendReply, Status>> {
        loop {
            let takes_requests = self.sender.is_some() && self.pending.0.len() < APPENDS_MAX;
            let is_owed = !self.pending.0.is_empty() || self.sender.is_none();
            let mut floor = self.flow.clone();
            let reached = self.reached;
            tokio::select! {
                reply = self.replies.message() => {
                    self.last_reply = Instant::now();
                    return reply.transpose();
                }
                Ok(_) = floor.wait_for(|flow| flow.floor > reached) => {
                    let text = "the member lags too far behind; it needs a snapshot";
                    return Some(Err(Status::unavailable(text)));
                }
                request = unless_silent(&mut self.requests, &mut self.flow),
                    if takes_requests => self.send(request),
                () = tokio::time::sleep_until(self.last_reply + self.reply_timeout), if is_owed => {
                    return Some(Err(Status::deadline_exceeded("no reply to entries")));
                }
            }
        }
    }

    fn send(&mut self, request: Option<AppendEntriesRequest<TypeConfig>>) {
        if self.pending.0.is_empty() {
            self.last_reply = Instant::now();
        }
        let Some(request) = request else {
            self.sender = None;
            return;
        };
        self.pending.add(&request);
        self.sent = codec::last_of(&request).max(self.sent);
        if let Some(sender) = &self.sender {
            // The queue has room for all pending requests. If it is closed, the call has ended.
            sender.try_send(to_wire(request)).ok();
        }
    }
}

fn to_wire(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    let message = codec::append_to_wire(request);
    if message.encoded_len() > MESSAGE_BYTES_MAX {
        let bytes = message.encoded_len();
        let limit = MESSAGE_BYTES_MAX;
        let first = message.entries.first().and_then(|entry| entry.id).map_or(0, |id| id.index);
        tracing::warn!(first, bytes, limit, "the entries are too large for a message to a member");
    }
    message
}

/// Converts a status to an openraft error. openraft backs off after `Unreachable`.
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
    use quorate_core::LogPosition;

    use super::*;
    use crate::log::types::log_id;

    #[test]
    fn a_reply_counts_for_no_other_request() {
        let id = |index| (index > 0).then(|| log_id(LogPosition { term: 1, index }));
        let pending = |ranges: &[(u64, u64)]| {
            let asked =
                ranges.iter().map(|(from, to)| RequestRange { previous: id(*from), last: id(*to) });
            PendingRequests(asked.collect())
        };
        let reported = |durable, ranges: &[(u64, u64)]| {
            let mut pending = pending(ranges);
            let asked = pending.answered();
            pending.report(id(durable), asked)
        };
        assert_eq!(reported(5, &[(2, 5)]), Some(id(5)));
        assert_eq!(
            reported(5, &[(2, 5), (5, 9)]),
            Some(id(5)),
            "the next request is not answered yet"
        );
        assert_eq!(reported(4, &[(2, 5), (5, 9)]), Some(id(4)), "a part");
        assert_eq!(reported(7, &[(2, 5), (5, 9)]), Some(id(5)), "no more than was asked");
        assert_eq!(reported(5, &[(2, 5), (5, 5)]), None, "one without entries is not answered yet");
        assert_eq!(reported(5, &[(5, 5)]), Some(id(5)));
        assert_eq!(reported(5, &[(2, 5), (5, 7), (7, 7)]), Some(id(5)));
        assert_eq!(reported(5, &[(2, 5), (3, 8)]), None, "one that begins before");
        assert_eq!(reported(0, &[(0, 0), (0, 0)]), None);
        assert_eq!(reported(0, &[(0, 0), (0, 4)]), Some(None));
    }

    #[tokio::test]
    async fn an_ended_stream_is_not_polled_again() {
        for count in 0..3 {
            // `unfold` panics if it is polled after its end.
            let items = stream::unfold(0, |n| async move { (n < count).then_some((n, n + 1)) });
            let await_first = await_first(Box::pin(items)).await;
            assert_eq!(await_first.collect::<Vec<_>>().await, (0..count).collect::<Vec<_>>());
        }
    }
}
