//! The Cluster service.

use quorate_proto::etcdserverpb as pb;
use quorate_raft::MemberInfo;
use tonic::{Request, Response, Status};

use super::stubs::cluster_server::Cluster;
use crate::error::status;
use crate::server::Server;

/// The Cluster service of a server.
pub(crate) struct ClusterService(pub(crate) Server);

/// What a cluster of one answers to a change of its members.
fn one_member() -> Status {
    Status::unimplemented("etcdserver: this version serves clusters of one member")
}

pub(crate) fn member_message(member: MemberInfo) -> pb::Member {
    let MemberInfo { id, name, peer_urls, client_urls, is_learner } = member;
    pb::Member { id, name, peer_urls, client_urls, is_learner }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        _request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(one_member())
    }

    async fn member_remove(
        &self,
        _request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(one_member())
    }

    async fn member_update(
        &self,
        _request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(one_member())
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.member().linearize().await.map_err(status)?;
        }
        let members = self.0.member().members().into_iter().map(member_message).collect();
        // Answers about members carry no revision.
        let header = Some(self.0.header(0));
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        _request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(one_member())
    }
}
