//! The Cluster service.

use quorate_proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

use super::stubs::cluster_server::Cluster;
use crate::server::Server;

/// The Cluster service of a server.
pub(crate) struct ClusterService(pub(crate) Server);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Ok(Response::new(self.0.member_add(request.into_inner()).await?))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Ok(Response::new(self.0.member_remove(request.into_inner()).await?))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Ok(Response::new(self.0.member_update(request.into_inner()).await?))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        Ok(Response::new(self.0.member_list(request.into_inner()).await?))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Ok(Response::new(self.0.member_promote(request.into_inner()).await?))
    }
}
