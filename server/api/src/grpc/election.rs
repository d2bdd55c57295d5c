//! The Election service.

use std::pin::Pin;

use futures_util::{Stream, TryStreamExt as _};
use quorate_proto::v3electionpb as pb;
use tonic::{Request, Response, Status};

use super::stubs::election_server::Election;
use super::{needs_leader, respond, session_of};
use crate::server::Server;

/// The Election service of a server.
pub(crate) struct ElectionService(pub(crate) Server);

type LeaderStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.campaign(&session, request.into_inner()).await?))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.proclaim(&session, request.into_inner()).await?))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let session = session_of(&request);
        Ok(respond(self.0.election_leader(&session, request.into_inner()).await?))
    }

    type ObserveStream = LeaderStream;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<LeaderStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let session = session_of(&request);
        let messages = self.0.observe(&session, request.into_inner(), needs_leader);
        Ok(Response::new(Box::pin(messages.map_err(Status::from))))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let session = session_of(&request);
        Ok(Response::new(self.0.resign(&session, request.into_inner()).await?))
    }
}
