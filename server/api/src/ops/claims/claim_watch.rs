//! A watch of claims within the server.

use futures_util::{StreamExt as _, stream};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;

use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;
use crate::watch::frame::{Events, Frame};
use crate::watch::outbox::Reader;

/// One watcher on a stream of its own.
pub(crate) struct ClaimWatch(Reader);

impl ClaimWatch {
    /// Opens the watch. With `needs_leader`, it ends once there has been no leader for a while.
    pub(crate) fn open(
        server: &Server,
        session: &Session,
        create: pb::WatchCreateRequest,
        needs_leader: bool,
    ) -> Self {
        let request_union = Some(RequestUnion::CreateRequest(create));
        let request = Ok(pb::WatchRequest { request_union });
        Self(server.watch(session, stream::iter([request]), needs_leader))
    }

    /// The next events. `None` if they have been compacted: then the caller has to read again.
    ///
    /// # Errors
    /// The watch is refused, there is no leader although one is needed, or the member stops.
    ///
    /// # Cancel safety
    /// No event is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Events>, ApiError> {
        loop {
            match self.0.next().await.unwrap_or(Err(ApiError::WatchCanceled))? {
                Frame::Events(events) => return Ok(Some(events)),
                Frame::Control(ended) if ended.compact_revision != 0 => return Ok(None),
                Frame::Control(ended) if ended.canceled => {
                    return Err(ApiError::unknown(ended.cancel_reason));
                }
                Frame::Control(_) => {}
            }
        }
    }
}
