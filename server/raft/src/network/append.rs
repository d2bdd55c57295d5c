//! Streams of entries, a few requests ahead of their replies.

use std::sync::Arc;

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
/// member that cannot be reached is to be left alone.
pub(crate) async fn append<S>(
    mut client: Client,
    requests: S,
) -> Result<impl Stream<Item = Appended> + Send, Error>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    let requests = begun(requests).await;
    let room = Arc::new(Semaphore::new(APPENDS_MAX));
    let outgoing = outgoing(requests, room.clone());
    let replies = client.append(outgoing).await.map_err(|status| failed(&status))?;
    Ok(incoming(replies.into_inner(), room))
}

/// The same items, as soon as there is a first one or there will be none. openraft's streams may not
/// be asked again once they have ended, which they do without an item when the leader is another.
async fn begun<S: Stream + Unpin>(items: S) -> impl Stream<Item = S::Item> + use<S> + Unpin {
    let mut items = items.fuse();
    let first = stream::iter(items.next().await);
    first.chain(items)
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

fn incoming(
    replies: Streaming<pb::AppendReply>,
    room: Arc<Semaphore>,
) -> impl Stream<Item = Appended> + Send {
    replies.map(move |reply| {
        room.add_permits(1);
        let reply = reply.map_err(|status| failed(&status))?;
        codec::reply_from_wire(reply).map_err(|error| malformed(&error))
    })
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
