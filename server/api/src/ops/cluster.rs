//! Operations on the members of the cluster. As in etcd, the headers of their answers have no
//! revision.

use http::uri::Authority;
use quorate_proto::etcdserverpb as pb;
use quorate_raft::{MemberInfo, MemberListing};

use crate::error::ApiError;
use crate::server::Server;

fn member_message(member: MemberInfo) -> pb::Member {
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

/// Peer URLs in the form that the cluster stores, sorted. As in etcd, an HTTP URL must have a
/// scheme, a host and a port, and nothing else. A URL of a Unix socket needs no port.
fn peer_urls(urls: Vec<String>) -> Result<Vec<String>, ApiError> {
    let read: Option<Vec<String>> = urls.iter().map(|url| peer_url(url)).collect();
    let mut urls = read.unwrap_or_default();
    if urls.is_empty() {
        return Err(ApiError::MemberBadUrls);
    }
    urls.sort();
    Ok(urls)
}

/// An answer with members, and the index of their configuration.
pub(crate) struct Listed<M> {
    /// The answer.
    pub(crate) message: M,
    /// The index of the configuration that the answer has; `None` before the members are known.
    pub(crate) configuration: Option<u64>,
}

impl Server {
    /// An answer that `message` makes of the present members.
    fn listed<M>(&self, message: impl FnOnce(Vec<pb::Member>) -> M) -> Listed<M> {
        let MemberListing { configuration, members } = self.member().members();
        let members = members.into_iter().map(member_message).collect();
        Listed { message: message(members), configuration }
    }

    /// Adds a member. The process of the new member starts later. If `expected` is given and is not
    /// the configuration index, the change is refused. The other changes also follow this rule.
    ///
    /// # Errors
    /// A URL is invalid, or the change is refused or fails.
    pub(crate) async fn member_add(
        &self,
        request: pb::MemberAddRequest,
        expected: Option<u64>,
    ) -> Result<Listed<pb::MemberAddResponse>, ApiError> {
        let urls = peer_urls(request.peer_urls)?;
        let added = self.member().add_member(urls, request.is_learner, expected).await?;
        let member = Some(member_message(added));
        let header = Some(self.header(0));
        Ok(self.listed(|members| pb::MemberAddResponse { header, member, members }))
    }

    /// Removes a member.
    ///
    /// # Errors
    /// The change is refused or fails.
    pub(crate) async fn member_remove(
        &self,
        request: pb::MemberRemoveRequest,
        expected: Option<u64>,
    ) -> Result<Listed<pb::MemberRemoveResponse>, ApiError> {
        let id = request.id;
        self.member().remove_member(id, expected).await?;
        let header = Some(self.header(0));
        Ok(self.listed(|mut members| {
            // It is possible that a member that removes itself never applies its own removal.
            members.retain(|member| member.id != id);
            pb::MemberRemoveResponse { header, members }
        }))
    }

    /// Changes the peer URLs of a member.
    ///
    /// # Errors
    /// There is no such member, a URL is invalid, or the change is refused or fails.
    pub(crate) async fn member_update(
        &self,
        request: pb::MemberUpdateRequest,
        expected: Option<u64>,
    ) -> Result<Listed<pb::MemberUpdateResponse>, ApiError> {
        let id = request.id;
        let urls = match peer_urls(request.peer_urls) {
            Ok(urls) => urls,
            Err(error) => return Err(self.check_member(id).await.err().unwrap_or(error)),
        };
        self.member().update_member(id, urls, expected).await?;
        let header = Some(self.header(0));
        Ok(self.listed(|members| pb::MemberUpdateResponse { header, members }))
    }

    /// Checks that there is a member with this id. As in etcd, that comes before its URLs.
    ///
    /// # Errors
    /// There is no such member, or no leader confirms the list of members.
    async fn check_member(&self, id: u64) -> Result<(), ApiError> {
        self.member().linearize().await?;
        let MemberListing { members, .. } = self.member().members();
        let is_known = members.iter().any(|member| member.id == id);
        if is_known { Ok(()) } else { Err(ApiError::MemberNotFound) }
    }

    /// Lists the members.
    ///
    /// # Errors
    /// The client wants a linearizable list, and no leader confirms it.
    pub(crate) async fn member_list(
        &self,
        request: pb::MemberListRequest,
    ) -> Result<Listed<pb::MemberListResponse>, ApiError> {
        if request.linearizable {
            self.member().linearize().await?;
        }
        let header = Some(self.header(0));
        Ok(self.listed(|members| pb::MemberListResponse { header, members }))
    }

    /// Makes a learner a voter.
    ///
    /// # Errors
    /// The change is refused or fails.
    pub(crate) async fn member_promote(
        &self,
        request: pb::MemberPromoteRequest,
        expected: Option<u64>,
    ) -> Result<Listed<pb::MemberPromoteResponse>, ApiError> {
        self.member().promote_member(request.id, expected).await?;
        let header = Some(self.header(0));
        Ok(self.listed(|members| pb::MemberPromoteResponse { header, members }))
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
