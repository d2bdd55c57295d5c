//! The Watch service.

use futures_util::TryStreamExt as _;
use futures_util::stream::MapErr;
use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

use super::stubs::watch_server::Watch;
use super::{needs_leader, session_of};
use crate::error::ApiError;
use crate::server::Server;
use crate::transport::status::requests_failed;
use crate::watch::outbox::Reader;

/// The Watch service of a server.
pub(crate) struct WatchService(pub(crate) Server);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = MapErr<Reader, fn(ApiError) -> Status>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let session = session_of(&request);
        let requests = request.into_inner().map_err(requests_failed);
        let messages = self.0.watch(&session, requests, needs_leader);
        Ok(Response::new(messages.map_err(Status::from as fn(ApiError) -> Status)))
    }
}
