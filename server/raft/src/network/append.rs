//! Streams of entries, a few requests ahead of their replies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::AnyError;
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use quorate_proto::peer as pb;
use tokio::sync::Semaphore;
use tonic::{Status, Streaming};

use super::codec;
use super::links::Client;
use crate::types::TypeConfig;

pub(crate) type Error = RPCError<TypeConfig>;
pub(crate) type Appended = Result<StreamAppendResult<TypeConfig>, Error>;

/// Requests that may be under way to one member. With more, what could go out as one request is
/// cut into many small ones; two keep both sides busy, and the third hides the way between them.
const APPENDS_MAX: usize = 3;

/// Sends requests as they come and gives back what becomes of each.
///
/// The first request is awaited before anything is sent: openraft lets the time pass in it that a
/// member that cannot be reached is to be left alone. A member that owes a reply for longer than
/// `stall` is given up.
pub(crate) async fn append<S>(
    mut client: Client,
    requests: S,
    stall: Duration,
) -> Result<impl Stream<Item = Appended> + Send, Error>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    // It can end with the first look at it, and must not be looked at again then.
    let mut requests = requests.fuse();
    let first = stream::iter(requests.next().await);
    let room = Arc::new(Semaphore::new(APPENDS_MAX));
    let outgoing = outgoing(first.chain(requests), room.clone());
    let called = tokio::time::timeout(stall, client.append(outgoing.fuse())).await;
    let late = |_| Err(Status::deadline_exceeded("no reply to a stream of entries"));
    let replies = called.unwrap_or_else(late).map_err(|status| failed(&status))?;
    Ok(incoming(replies.into_inner(), room, stall))
}

fn outgoing<S>(requests: S, room: Arc<Semaphore>) -> impl Stream<Item = pb::AppendRequest> + Send
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    stream::unfold((requests, room), |(mut requests, room)| async move {
        // Room first: a request holds the newest entries when it is made as late as possible.
        room.acquire().await.ok()?.forget();
        let request = requests.next().await?;
        Some((codec::append_to_wire(request), (requests, room)))
    })
}

/// Replies as they come, and an error when one does not come for `stall`.
fn incoming(
    replies: Streaming<pb::AppendReply>,
    room: Arc<Semaphore>,
    stall: Duration,
) -> impl Stream<Item = Appended> + Send {
    stream::unfold(Some(replies), move |replies| {
        let room = room.clone();
        async move {
            let mut replies = replies?;
            match next(&mut replies, &room, stall).await {
                None => None,
                Some(Ok(reply)) => {
                    room.add_permits(1);
                    let reply = codec::reply_from_wire(reply);
                    Some((reply.map_err(|error| malformed(&error)), Some(replies)))
                }
                Some(Err(status)) => Some((Err(failed(&status)), None)),
            }
        }
    })
    .fuse()
}

async fn next(
    replies: &mut Streaming<pb::AppendReply>,
    room: &Semaphore,
    stall: Duration,
) -> Option<Result<pb::AppendReply, Status>> {
    let mut is_late = false;
    loop {
        if let Ok(reply) = tokio::time::timeout(stall, replies.message()).await {
            return reply.transpose();
        }
        // One place is taken by who waits for the next request.
        let is_awaited = room.available_permits() < APPENDS_MAX - 1;
        // What was sent a moment ago has its time yet.
        if is_awaited && is_late {
            return Some(Err(Status::deadline_exceeded("no reply to entries")));
        }
        is_late = is_awaited;
    }
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
