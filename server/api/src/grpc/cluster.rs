//! The Cluster service.

use http::uri::Authority;
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

/// A peer URL in the form that the cluster stores; `None` if the URL is invalid.
fn peer_url(text: &str) -> Option<String> {
    let (scheme, address) = text.trim().split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let is_good = match scheme.as_str() {
        "unix" | "unixs" => !address.is_empty(),
        "http" | "https" => {
            let authority = address.parse::<Authority>();
            authority.is_ok_and(|it| it.port_u16().is_some() && !address.contains('@'))
        }
        _ => false,
    };
    is_good.then(|| format!("{scheme}://{address}"))
}

/// Peer URLs in the form that the cluster stores, sorted. As in etcd, a URL must have a scheme, a
/// host and a port, and nothing else.
fn peer_urls(urls: Vec<String>) -> Result<Vec<String>, Status> {
    let read: Option<Vec<String>> = urls.iter().map(|url| peer_url(url)).collect();
    let mut urls = read.unwrap_or_default();
    if urls.is_empty() {
        return Err(status(ApiError::MemberBadUrls));
    }
    urls.sort();
    Ok(urls)
}

impl ClusterService {
    fn members(&self) -> Vec<pb::Member> {
        self.0.member().members().into_iter().map(member_message).collect()
    }

    /// The header of all answers of this service, which have no revision.
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
        let header = self.header();
        let members = self.members();
        Ok(Response::new(pb::MemberAddResponse { header, member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = request.into_inner().id;
        self.0.member().remove_member(id).await.map_err(status)?;
        let header = self.header();
        let mut members = self.members();
        // A member that removes itself may never apply its own removal.
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
        let header = self.header();
        let members = self.members();
        Ok(Response::new(pb::MemberUpdateResponse { header, members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.member().linearize().await.map_err(status)?;
        }
        let header = self.header();
        let members = self.members();
        Ok(Response::new(pb::MemberListResponse { header, members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.0.member().promote_member(request.into_inner().id).await.map_err(status)?;
        let header = self.header();
        let members = self.members();
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_stored_as_in_etcd() {
        for (text, kept) in [
            ("http://a:2380", Some("http://a:2380")),
            (" HTTPS://[::1]:2380 ", Some("https://[::1]:2380")),
            ("unix://localhost:2380", Some("unix://localhost:2380")),
            ("http://a", None),
            ("http://a:70000", None),
            ("http://a:2380/", None),
            ("http://a:2380/path", None),
            ("http://me@a:2380", None),
            ("ftp://a:2380", None),
            ("unix://", None),
            ("a:2380", None),
        ] {
            assert_eq!(peer_url(text).as_deref(), kept, "{text}");
        }
    }
}
