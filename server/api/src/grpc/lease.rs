//! The Lease service.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use prost::Message;
use quorate_core::{Command, Reply};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::Renewal;
use tonic::{Code, Request, Response, Status, Streaming};

use super::kv::wrong_reply;
use super::stubs::lease_server::Lease;
use super::{account_of, needs_leader};
use crate::error::{ApiError, status};
use crate::ids::random_lease_id;
use crate::scan::{Client, Scanned};
use crate::server::Server;
use crate::transport::stream::keeping;
use crate::watch::stream::leader_lost;

/// The Lease service of a server.
pub(crate) struct LeaseService(pub(crate) Server);

type KeepAliveStream =
    Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

impl Server {
    async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        // The header is made before the renewal: its revision must not include a revocation that
        // the renewal has not seen.
        let header = Some(self.header_now());
        let ttl = match self.member().renew_lease(id).await.map_err(status)? {
            Renewal::Renewed(ttl) => ttl,
            Renewal::NotFound => 0,
            Renewal::NotPrimary => return Err(Status::new(Code::Unknown, "not a primary lessor")),
        };
        Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let mut request = request.into_inner();
        if request.id == 0 {
            request.id = random_lease_id();
        }
        request.ttl = request.ttl.max(self.0.options().min_lease_ttl);
        let command = Command::LeaseGrant(request);
        let _claim = self.0.member().check_quota(&command).await.map_err(status)?;
        match self.0.propose(&command, request.encoded_len()).await? {
            Reply::LeaseGrant(mut response) => {
                self.0.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let request = request.into_inner();
        let length = request.encoded_len();
        match self.0.propose(&Command::LeaseRevoke(request), length).await? {
            Reply::LeaseRevoke(mut response) => {
                self.0.fill(&mut response.header);
                Ok(Response::new(response))
            }
            other => Err(wrong_reply(&other)),
        }
    }

    type LeaseKeepAliveStream = KeepAliveStream;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAliveStream>, Status> {
        let needs_leader = needs_leader(request.metadata().as_ref());
        let lost = Box::pin(leader_lost(self.0.clone(), needs_leader));
        let start = Some((self.0.clone(), request.into_inner(), lost));
        // The stream ends when the client closes its side, or with the first error.
        let answers = stream::unfold(start, |state| async move {
            let (server, mut requests, mut lost) = state?;
            let answered = async {
                let request = tokio::select! {
                    request = requests.message() => request,
                    () = server.stopping().cancelled() => Err(status(ApiError::Stopped)),
                };
                match request {
                    Ok(None) => None,
                    Ok(Some(request)) => Some(server.keep_alive(request.id).await),
                    Err(error) => Some(Err(error)),
                }
            };
            let answer = tokio::select! {
                answer = answered => answer?,
                () = &mut lost => Err(status(ApiError::NoLeader)),
            };
            let go_on = answer.is_ok().then_some((server, requests, lost));
            Some((answer, go_on))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let account = account_of(&request);
        let request = request.into_inner();
        let time = self.0.member().lease_time_to_live(request.id).await.map_err(status)?;
        let (keys, kept) = if request.keys && time.is_some() {
            let server = self.0.clone();
            let read = move |client: &Arc<Client>| {
                server.member().view().patient(client.clone()).lease_keys(request.id)
            };
            let Scanned { result, kept } = self.0.scan(&account, read).await?;
            (result.map_err(|fault| self.0.fault(&fault))?, kept)
        } else {
            (Vec::new(), account.nothing())
        };
        let response = pb::LeaseTimeToLiveResponse {
            header: Some(self.0.header_now()),
            id: request.id,
            ttl: time.map_or(-1, |time| time.remaining),
            granted_ttl: time.map_or(0, |time| time.granted),
            keys,
        };
        Ok(keeping(response, kept))
    }

    async fn lease_leases(
        &self,
        _request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = self.0.member().leases().into_iter();
        let leases = leases.map(|id| pb::LeaseStatus { id }).collect();
        let header = Some(self.0.header_now());
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}
