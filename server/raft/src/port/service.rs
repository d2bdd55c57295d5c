//! The service that other members call.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::raft::VoteRequest;
use quorate_core::LogPosition;
use quorate_core::planted::{self, Mistake};
use quorate_core::store::Shared;
use quorate_proto::peer as pb;
use quorate_proto::peer::peer_server::{Peer, PeerServer};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::append_handler::AppendHandler;
use super::describe_handler::DescribeHandler;
use super::failures::{failed, fatal, malformed};
use super::guard::Guard;
use super::proposal_handler::ProposalHandler;
use super::snapshot_handler::SnapshotHandler;
use super::validator::{self, Validator};
use crate::consensus::adapter::OpenRaft;
use crate::ground::consensus::Unavailable;
use crate::leader::hashes::hash_reply;
use crate::leader::leases::Leases;
use crate::leader::lessor::Renewal;
use crate::log::types::{TypeConfig, log_id};
use crate::membership::Membership;
use crate::network::{MESSAGE_BYTES_MAX, codec};

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The parts that answer other members, one for each kind of call.
pub(crate) struct PeerHandlers {
    pub(crate) guard: Arc<Guard>,
    pub(crate) validator: Arc<Validator>,
    pub(crate) appends: Arc<AppendHandler>,
    pub(crate) snapshots: SnapshotHandler,
    pub(crate) proposals: ProposalHandler,
    pub(crate) consensus: Arc<OpenRaft>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) describe: DescribeHandler,
    pub(crate) store: Arc<Shared>,
    /// When this is cancelled, the streams that other members keep open here end.
    pub(crate) closing_streams: CancellationToken,
}

/// The gRPC service for other members.
pub(crate) struct PeerService(Arc<PeerHandlers>);

impl PeerService {
    /// The service with its message size limits.
    pub(crate) fn mount(handlers: Arc<PeerHandlers>) -> PeerServer<Self> {
        PeerServer::new(Self(handlers))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The id of the caller. The caller was checked before its message was read, but may have been
    /// removed since.
    fn admit<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        self.0.guard.admit(request.metadata())
    }

    async fn change(
        &self,
        message: Option<pb::MemberChange>,
        expected: Option<u64>,
    ) -> Result<Response<pb::MemberChangeReply>, Status> {
        let change = message.and_then(|message| message.change);
        let change = change.ok_or_else(|| Status::invalid_argument("the message has no change"))?;
        validator::check_change(&change)?;
        Ok(Response::new(self.0.membership.change_here(change, expected).await))
    }

    fn until_streams_close<T: Send + 'static>(
        &self,
        request: Request<Streaming<T>>,
    ) -> impl Stream<Item = Result<T, Status>> + Send + use<T> {
        request.into_inner().take_until(self.0.closing_streams.clone().cancelled_owned())
    }
}

/// Decodes a request for votes.
fn vote_request(request: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let mut request = codec::vote_request_from_wire(request).map_err(malformed)?;
    if planted::has(Mistake::GrantStaleVote) {
        // No log is ahead of this position.
        let ahead = LogPosition { term: u64::MAX, index: u64::MAX };
        request.last_log_id = Some(log_id(ahead));
    }
    Ok(request)
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = ReplyStream<pb::AppendReply>;
    type HeartbeatStream = ReplyStream<pb::AppendReply>;
    type ProposeStream = ReplyStream<pb::ProposalReplies>;
    type ReadIndexStream = ReplyStream<pb::ReadIndexReply>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.admit(&request)?;
        let replies = self.0.appends.clone().entries(from, self.until_streams_close(request));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn heartbeat(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let from = self.admit(&request)?;
        let appends = self.0.appends.clone();
        let replies = self.until_streams_close(request).then(move |request| {
            let appends = appends.clone();
            async move { appends.heartbeat(from, request?).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = self.admit(&request)?;
        let request = vote_request(request.into_inner())?;
        self.0.validator.check_candidate(from, &request.vote)?;
        let response = self.0.consensus.vote(request).await.map_err(|e| failed(&e))?;
        Ok(Response::new(codec::vote_response_to_wire(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = self.admit(&request)?;
        let request = vote_request(request.into_inner())?;
        self.0.validator.check_candidate(from, &request.vote)?;
        let response = self.0.consensus.pre_vote(request).await.map_err(|e| failed(&e))?;
        Ok(Response::new(codec::vote_response_to_wire(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        let from = self.admit(&request)?;
        let request = codec::transfer_from_wire(request.into_inner()).map_err(malformed)?;
        self.0.validator.check_transfer(from, &request)?;
        let response = self.0.consensus.accept_leadership(request).await.map_err(|e| fatal(&e))?;
        Ok(Response::new(codec::transferred_to_wire(response)))
    }

    async fn find_snapshot(
        &self,
        request: Request<pb::SnapshotHead>,
    ) -> Result<Response<pb::SnapshotPosition>, Status> {
        let from = self.admit(&request)?;
        self.0.snapshots.find(from, request.into_inner()).await.map(Response::new)
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let from = self.admit(&request)?;
        self.0.snapshots.receive(from, request.into_inner()).await.map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<Streaming<pb::Proposals>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let from = self.admit(&request)?;
        let replies = self.0.proposals.answer(from, request.into_inner());
        Ok(Response::new(Box::pin(replies)))
    }

    async fn read_index(
        &self,
        request: Request<Streaming<pb::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        let from = self.admit(&request)?;
        let handlers = self.0.clone();
        let replies = self.until_streams_close(request).then(move |request| {
            let handlers = handlers.clone();
            async move {
                request?;
                read_index(&handlers, from).await
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::LeaseRequest>,
    ) -> Result<Response<pb::LeaseReply>, Status> {
        self.admit(&request)?;
        let id = request.into_inner().id;
        let reply = match self.0.leases.renew_here(id).await {
            Some(Renewal::Renewed(granted)) => pb::LeaseReply { granted, ..Default::default() },
            Some(_) => lease_outcome(pb::lease_reply::Outcome::Missing),
            None => lease_outcome(pb::lease_reply::Outcome::NotLeader),
        };
        Ok(Response::new(reply))
    }

    async fn lease_time(
        &self,
        request: Request<pb::LeaseRequest>,
    ) -> Result<Response<pb::LeaseReply>, Status> {
        self.admit(&request)?;
        let id = request.into_inner().id;
        let reply = match self.0.leases.time_here(id).await {
            Some(Some(time)) => pb::LeaseReply {
                granted: time.granted,
                remaining: time.remaining,
                ..Default::default()
            },
            Some(None) => lease_outcome(pb::lease_reply::Outcome::Missing),
            None => lease_outcome(pb::lease_reply::Outcome::NotLeader),
        };
        Ok(Response::new(reply))
    }

    async fn change_members(
        &self,
        request: Request<pb::MemberChange>,
    ) -> Result<Response<pb::MemberChangeReply>, Status> {
        self.admit(&request)?;
        self.change(Some(request.into_inner()), None).await
    }

    async fn change_members_if(
        &self,
        request: Request<pb::ConditionalMemberChange>,
    ) -> Result<Response<pb::MemberChangeReply>, Status> {
        self.admit(&request)?;
        let pb::ConditionalMemberChange { expected, change } = request.into_inner();
        self.change(change, Some(expected)).await
    }

    async fn acknowledged(
        &self,
        request: Request<pb::AcknowledgedRequest>,
    ) -> Result<Response<pb::AcknowledgedReply>, Status> {
        let from = self.admit(&request)?;
        let vote = request.into_inner().vote;
        Ok(Response::new(self.0.validator.acknowledged(from, vote)))
    }

    async fn describe(
        &self,
        _request: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::Description>, Status> {
        Ok(Response::new(self.0.describe.describe()))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashReply>, Status> {
        self.admit(&request)?;
        let revision = request.into_inner().revision;
        Ok(Response::new(hash_reply(&self.0.store, revision).await))
    }
}

fn lease_outcome(outcome: pb::lease_reply::Outcome) -> pb::LeaseReply {
    pb::LeaseReply { outcome: outcome as i32, ..Default::default() }
}

/// Answers one request for the index of a read.
async fn read_index(handlers: &PeerHandlers, from: u64) -> Result<pb::ReadIndexReply, Status> {
    // The caller may have been removed since it opened the stream.
    if let Some(refusal) = handlers.guard.removed(from) {
        return Err(refusal);
    }
    match handlers.consensus.read_index_here().await {
        Ok(index) => Ok(pb::ReadIndexReply { leads: true, index }),
        Err(Unavailable::Stopped) => Err(Status::unavailable("the member is stopping")),
        Err(Unavailable::NotLeader { .. } | Unavailable::LeaderChanged) => {
            Ok(pb::ReadIndexReply::default())
        }
    }
}
