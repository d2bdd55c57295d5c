//! The Lease service.

use std::pin::Pin;

use futures_util::{Stream, TryStreamExt as _};
use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status, Streaming};

use super::stubs::lease_server::Lease;
use super::{needs_leader, respond, session_of};
use crate::server::Server;
use crate::transport::status::requests_failed;

/// The Lease service of a server.
pub(crate) struct LeaseService(pub(crate) Server);

type KeepAliveStream =
    Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        Ok(Response::new(self.0.lease_grant(&session_of(&request), request.into_inner()).await?))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        Ok(Response::new(self.0.lease_revoke(&session_of(&request), request.into_inner()).await?))
    }

    type LeaseKeepAliveStream = KeepAliveStream;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAliveStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let session = session_of(&request);
        let requests = request.into_inner().map_err(requests_failed);
        let answers = self.0.keep_alive(session, requests, needs_leader).map_err(Status::from);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let session = session_of(&request);
        Ok(respond(self.0.lease_time_to_live(&session, request.into_inner()).await?))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        Ok(Response::new(self.0.lease_leases(&session_of(&request)).await?))
    }
}
