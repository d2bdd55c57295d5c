//! The service that other members call.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt, stream};
use openraft::errors::Fatal;
use openraft::raft::{StreamAppendResult, VoteRequest};
use prost::Message;
use quorate_core::LogPosition;
use quorate_core::planted::{self, Mistake};
use quorate_proto::peer as pb;
use quorate_proto::peer::peer_server::{Peer, PeerServer};
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

use super::appends::{append_of, beat};
use super::failures::{failed, fatal, malformed};
use super::proposals::{PROPOSALS_MAX, removal, replies_of, take_in};
use super::{claims, guard};
use crate::ground::consensus::Unavailable;
use crate::leader::lessor::Renewal;
use crate::log::types::{TypeConfig, log_id};
use crate::network::counted::float;
use crate::network::{MESSAGE_BYTES_MAX, codec};
use crate::peer::Inner;

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
/// Answers other members.
pub(crate) struct PeerService(Arc<Inner>);

impl PeerService {
    /// The service as it is mounted.
    pub(crate) fn mount(inner: Arc<Inner>) -> PeerServer<Self> {
        PeerServer::new(Self(inner))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Who calls. It was let in before its message was read, and may have been removed meanwhile.
    fn admit<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        self.0.admit(request.metadata())
    }
}

/// Reads a candidate's request.
fn vote_request(request: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
    let mut request = codec::vote_request_from_wire(request).map_err(malformed)?;
    if planted::has(Mistake::GrantStaleVote) {
        // No log is ahead of this one.
        let ahead = LogPosition { term: u64::MAX, index: u64::MAX };
        request.last_log_id = Some(log_id(ahead));
    }
    Ok(request)
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Stream_<pb::AppendReply>;
    type HeartbeatStream = Stream_<pb::AppendReply>;
    type ProposeStream = Stream_<pb::ProposalReplies>;
    type ReadIndexStream = Stream_<pb::ReadIndexReply>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let from = self.admit(&request)?;
        let inner = self.0.clone();
        let received = inner.metrics.peers.received(from);
        // A request that cannot be read ends the stream; the leader begins another one.
        let wrong = Arc::new(OnceLock::new());
        let refusal = wrong.clone();
        let requests = request.into_inner().take_until(self.0.stop.clone().cancelled_owned());
        let requests = requests.scan((), move |(), message| {
            let message = message.inspect(|m| received.inc_by(float(m.encoded_len())));
            let request = message.and_then(|message| append_of(&inner, from, message));
            std::future::ready(request.map_err(|status| wrong.set(status)).ok())
        });
        let reply = |result: Result<StreamAppendResult<TypeConfig>, Fatal<TypeConfig>>| {
            result.map(codec::reply_to_wire).map_err(|error| fatal(&error))
        };
        let replies = self.0.raft.stream_append(requests).map(reply);
        let end = stream::once(async move { refusal.get().cloned().map(Err) });
        let replies = replies.chain(end.filter_map(std::future::ready));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn heartbeat(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let from = self.admit(&request)?;
        let requests = request.into_inner().take_until(self.0.stop.clone().cancelled_owned());
        let inner = self.0.clone();
        let replies = requests.then(move |request| {
            let inner = inner.clone();
            async move { beat(&inner, from, request?).await }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = self.admit(&request)?;
        let request = vote_request(request.into_inner())?;
        claims::check_candidate(&self.0, from, &request.vote)?;
        let response = self.0.raft.vote(request).await.map_err(|e| failed(&e))?;
        Ok(Response::new(codec::vote_response_to_wire(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteReply>, Status> {
        let from = self.admit(&request)?;
        let request = vote_request(request.into_inner())?;
        claims::check_candidate(&self.0, from, &request.vote)?;
        let response = self.0.raft.pre_vote(request).await.map_err(|e| failed(&e))?;
        Ok(Response::new(codec::vote_response_to_wire(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferReply>, Status> {
        let from = self.admit(&request)?;
        let request = codec::transfer_from_wire(request.into_inner()).map_err(malformed)?;
        claims::check_transfer(&self.0, from, &request)?;
        let response = self.0.raft.handle_transfer_leader(request).await.map_err(|e| fatal(&e))?;
        Ok(Response::new(codec::transferred_to_wire(response)))
    }

    async fn find_snapshot(
        &self,
        request: Request<pb::SnapshotHead>,
    ) -> Result<Response<pb::SnapshotPosition>, Status> {
        let from = self.admit(&request)?;
        super::receive::find(&self.0, from, request.into_inner()).await.map(Response::new)
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let from = self.admit(&request)?;
        super::receive::receive(&self.0, from, request.into_inner()).await.map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<Streaming<pb::Proposals>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let from = self.admit(&request)?;
        let (replies, settled) = mpsc::channel(PROPOSALS_MAX);
        let room = Arc::new(Semaphore::new(PROPOSALS_MAX));
        let inner = self.0.clone();
        let removal = removal(inner.clone(), from);
        let take_in = take_in(inner, from, request.into_inner(), replies, room.clone());
        self.0.tasks.spawn(take_in);
        Ok(Response::new(Box::pin(replies_of(settled, room, removal))))
    }

    async fn read_index(
        &self,
        request: Request<Streaming<pb::ReadIndexRequest>>,
    ) -> Result<Response<Self::ReadIndexStream>, Status> {
        let from = self.admit(&request)?;
        let requests = request.into_inner().take_until(self.0.stop.clone().cancelled_owned());
        let inner = self.0.clone();
        let replies = requests.then(move |request| {
            let inner = inner.clone();
            async move {
                request?;
                read_index(&inner, from).await
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
        let reply = match self.0.renew_lease_here(id).await {
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
        let reply = match self.0.lease_time_here(id).await {
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
        let change = request.into_inner().change;
        let change = change.ok_or_else(|| Status::invalid_argument("there is no change"))?;
        claims::check_change(&change)?;
        Ok(Response::new(self.0.membership.change_here(change).await))
    }

    async fn acknowledged(
        &self,
        request: Request<pb::AcknowledgedRequest>,
    ) -> Result<Response<pb::AcknowledgedReply>, Status> {
        let from = self.admit(&request)?;
        let vote = request.into_inner().vote;
        Ok(Response::new(claims::acknowledged(&self.0, from, vote)))
    }

    async fn describe(
        &self,
        _request: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::Description>, Status> {
        Ok(Response::new(self.0.describe()))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashRequest>,
    ) -> Result<Response<pb::HashReply>, Status> {
        self.admit(&request)?;
        let revision = request.into_inner().revision;
        Ok(Response::new(self.0.hash_kv(revision).await))
    }
}

fn lease_outcome(outcome: pb::lease_reply::Outcome) -> pb::LeaseReply {
    pb::LeaseReply { outcome: outcome as i32, ..Default::default() }
}

/// Answers one question for the index of a read.
async fn read_index(inner: &Inner, from: u64) -> Result<pb::ReadIndexReply, Status> {
    // It may have been removed since it began to ask.
    if let Some(refusal) = guard::removed(from, &inner.store, &inner.peers) {
        return Err(refusal);
    }
    match inner.read_index_here().await {
        Ok(index) => Ok(pb::ReadIndexReply { leads: true, index }),
        Err(Unavailable::Stopped) => Err(Status::unavailable("the member is stopping")),
        Err(Unavailable::NotLeader { .. } | Unavailable::LeaderChanged) => {
            Ok(pb::ReadIndexReply::default())
        }
    }
}
