//! The Maintenance service.

use std::pin::Pin;

use futures_util::Stream;
use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::stubs::maintenance_server::Maintenance;
use super::{account_of, session_of};
use crate::error::ApiError;
use crate::server::Server;

/// The Maintenance service of a server.
pub(crate) struct MaintenanceService(pub(crate) Server);

type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(
        &self,
        request: Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        Ok(Response::new(self.0.alarm(&session_of(&request), request.into_inner()).await?))
    }

    async fn status(
        &self,
        _request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn defragment(
        &self,
        _request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(self.0.defragment().await?))
    }

    async fn hash(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashResponse>, Status> {
        Ok(Response::new(self.0.hash(&account_of(&request)).await?))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        let account = account_of(&request);
        Ok(Response::new(self.0.hash_kv(&account, request.into_inner()).await?))
    }

    type SnapshotStream = SnapshotStream;

    async fn snapshot(
        &self,
        _request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<SnapshotStream>, Status> {
        Err(ApiError::NoSnapshots.into())
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Ok(Response::new(self.0.move_leader(request.into_inner()).await?))
    }

    async fn downgrade(
        &self,
        _request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(ApiError::NoDowngrade.into())
    }
}
