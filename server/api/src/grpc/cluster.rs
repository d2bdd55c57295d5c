//! The Cluster service.

use http::Uri;
use quorate_proto::etcdserverpb as pb;
use quorate_raft::MemberInfo;
use tonic::{Request, Response, Status};

use super::stubs::cluster_server::Cluster;
use crate::error::{ApiError, status};
use crate::server::Server;

/// The Cluster service of a server.
pub(crate) struct ClusterService(pub(crate) Server);

pub(crate) fn member_message(member: MemberInfo) -> pb::Member {
    let MemberInfo { id, name, peer_urls, client_urls, is_learner } = member;
    pb::Member { id, name, peer_urls, client_urls, is_learner }
}

/// Peer URLs as the cluster keeps them: in order. etcd wants a scheme, a host and a port, and
/// nothing more.
fn peer_urls(urls: Vec<String>) -> Result<Vec<String>, Status> {
    let is_good = |url: &String| {
        url.parse::<Uri>().is_ok_and(|uri| {
            let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
            scheme
                && uri.port().is_some()
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
        })
    };
    if urls.is_empty() || !urls.iter().all(is_good) {
        return Err(status(ApiError::MemberBadUrls));
    }
    let mut urls: Vec<String> =
        urls.into_iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    urls.sort();
    Ok(urls)
}

impl ClusterService {
    fn members(&self) -> Vec<pb::Member> {
        self.0.member().members().into_iter().map(member_message).collect()
    }

    /// Answers about members carry no revision.
    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.0.header(0))
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let request = request.into_inner();
        let urls = peer_urls(request.peer_urls)?;
        let added = self.0.member().add_member(urls, request.is_learner).await.map_err(status)?;
        let member = Some(member_message(added));
        let (header, members) = (self.header(), self.members());
        Ok(Response::new(pb::MemberAddResponse { header, member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = request.into_inner().id;
        self.0.member().remove_member(id).await.map_err(status)?;
        let (header, mut members) = (self.header(), self.members());
        // Who removes itself may never apply it.
        members.retain(|member| member.id != id);
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        let urls = peer_urls(request.peer_urls)?;
        self.0.member().update_member(request.id, urls).await.map_err(status)?;
        let (header, members) = (self.header(), self.members());
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.member().linearize().await.map_err(status)?;
        }
        let (header, members) = (self.header(), self.members());
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.0.member().promote_member(request.into_inner().id).await.map_err(status)?;
        let (header, members) = (self.header(), self.members());
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}
