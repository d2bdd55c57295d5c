//! The service that other members call.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult, VoteRequest,
};
use openraft::vote::leader_id_std::CommittedLeaderId;
use prost::Message;
use quorate_core::LogPosition;
use quorate_core::planted::{self, Mistake};
use quorate_proto::peer as pb;
use quorate_proto::peer::peer_server::{Peer, PeerServer};
use quorate_proto::peer::proposal_reply::Outcome;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::counted::float;
use super::{MESSAGE_BYTES_MAX, claims, codec, guard};
use crate::consensus::Unavailable;
use crate::lessor::Renewal;
use crate::peer::Inner;
use crate::types::{TypeConfig, Waiting, log_id};

/// Proposals of one other member that may be under way.
const PROPOSALS_MAX: usize = 16 << 10;
/// Replies sent in one message.
const REPLIES: usize = 512;
/// How long a heartbeat waits for the disk: as long as one does that is not busy.
const BEAT_SOON: Duration = Duration::from_millis(2);

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Written =
    Result<openraft::raft::ClientWriteResponse<TypeConfig>, ClientWriteError<TypeConfig>>;

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

fn fatal(error: &Fatal<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}

fn failed(error: &RaftError<TypeConfig>) -> Status {
    Status::unavailable(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err wants it")]
fn malformed(error: codec::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
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
        super::transfer::find(&self.0, from, request.into_inner()).await.map(Response::new)
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotReply>, Status> {
        let from = self.admit(&request)?;
        super::transfer::receive(&self.0, from, request.into_inner()).await.map(Response::new)
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

/// Answers one heartbeat.
async fn beat(
    inner: &Inner,
    from: u64,
    request: pb::AppendRequest,
) -> Result<pb::AppendReply, Status> {
    let request = append_of(inner, from, request)?;
    let (vote, previous, last) = (request.vote, request.prev_log_id, codec::last_of(&request));
    let response = beaten(inner, request).await?;
    // A heartbeat follows what this member has acknowledged in this term: of the leader alone that
    // it still follows, and that says so itself.
    if let (AppendEntriesResponse::Conflict, Some(acknowledged)) = (&response, &previous) {
        let index = acknowledged.index();
        if inner.vote() <= vote && claims::confirmed(inner, from, &vote, index).await {
            inner.lacks(index);
        }
        return Err(Status::failed_precondition("the log lacks what was acknowledged"));
    }
    Ok(codec::response_to_wire(response, previous, last))
}

/// What this member says to a heartbeat. openraft would say it when everything before is on disk.
///
/// But the leader learns nothing of the log from a heartbeat's reply. It learns that when it sent
/// the heartbeat, this member followed nobody later: which is so as soon as openraft, which takes
/// one thing after the other, has taken the heartbeat in and still follows that leader. The vote
/// itself need not be on disk: what is promised here is the past.
async fn beaten(
    inner: &Inner,
    request: AppendEntriesRequest<TypeConfig>,
) -> Result<AppendEntriesResponse<TypeConfig>, Status> {
    let vote = request.vote;
    let mut said = pin!(inner.raft.append_entries(request));
    tokio::select! {
        response = &mut said => return response.map_err(|e| failed(&e)),
        () = tokio::time::sleep(BEAT_SOON) => {}
    }
    // Asked behind the heartbeat: a refusal does not wait for the disk, and has come before.
    let follows = inner.raft.with_raft_state(move |state| *state.vote_ref() == vote);
    tokio::select! {
        biased;
        response = &mut said => response.map_err(|e| failed(&e)),
        follows = follows => match follows.map_err(|e| fatal(&e))? {
            true => Ok(AppendEntriesResponse::Success),
            false => said.await.map_err(|e| failed(&e)),
        },
    }
}

/// Reads a request of the leader, which nobody else sends.
fn append_of(
    inner: &Inner,
    from: u64,
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let request = codec::append_from_wire(request).map_err(malformed)?;
    claims::check_append(inner, from, &request)?;
    inner.heard.note(from, &request.vote);
    Ok(request)
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

/// Proposes what comes on a stream.
async fn take_in(
    inner: Arc<Inner>,
    from: u64,
    mut messages: Streaming<pb::Proposals>,
    replies: mpsc::Sender<(u64, Written)>,
    room: Arc<Semaphore>,
) {
    let stop = inner.stop.clone();
    while let Some(Ok(Some(message))) = stop.run_until_cancelled(messages.message()).await {
        // In no other term: the sender relies on it.
        let term = CommittedLeaderId::new(message.term);
        for bytes in message.proposals {
            let payload = match claims::proposal(&inner, from, bytes) {
                Ok(payload) => payload,
                Err(refusal) => return inner.refusals.log(&refusal),
            };
            let Some(origin) = payload.origin() else { return };
            if !makes_room(&room, &replies, &stop).await {
                return;
            }
            let waiting =
                Waiting::Elsewhere { sequence: origin.sequence, replies: replies.clone() };
            let write = inner.raft.write(payload).responder(waiting);
            if write.with_leader(term).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until there is room for another proposal; false when there never will be, as nobody takes
/// the replies any more.
async fn makes_room<T>(
    room: &Semaphore,
    replies: &mpsc::Sender<T>,
    stop: &CancellationToken,
) -> bool {
    let permit = tokio::select! {
        biased;
        permit = room.acquire() => permit.ok(),
        () = replies.closed() => None,
        () = stop.cancelled() => None,
    };
    permit.map(SemaphorePermit::forget).is_some()
}

/// Waits until a member is removed; returns the answer to it.
async fn removal(inner: Arc<Inner>, member: u64) -> Status {
    let (mut peers, mut applied) = (inner.peers.clone(), inner.progress.subscribe());
    loop {
        // First in the log, and known for good when it is applied.
        let gone = peers.wait_for(|peers| !peers.contains_key(&member)).await.is_ok();
        if let Some(refusal) = guard::removed(member, &inner.store, &inner.peers) {
            return refusal;
        }
        if !gone || applied.changed().await.is_err() {
            // This member has stopped, and tells nobody anything.
            std::future::pending::<()>().await;
        }
    }
}

/// Tells the other member what became of its proposals, many at once when there are many; and at
/// last, that it was removed.
fn replies_of(
    settled: mpsc::Receiver<(u64, Written)>,
    room: Arc<Semaphore>,
    removal: impl Future<Output = Status> + Send + 'static,
) -> impl Stream<Item = Result<pb::ProposalReplies, Status>> + Send {
    let state = Some((settled, room, Box::pin(removal)));
    stream::unfold(state, |state| async move {
        let (mut settled, room, mut removal) = state?;
        let mut batch = Vec::new();
        let count = tokio::select! {
            biased;
            count = settled.recv_many(&mut batch, REPLIES) => count,
            refusal = &mut removal => return Some((Err(refusal), None)),
        };
        if count == 0 {
            return None;
        }
        room.add_permits(count);
        let replies = batch.into_iter().map(|(sequence, result)| {
            let outcome = match result {
                Ok(_) => Outcome::Committed,
                Err(ClientWriteError::ForwardToLeader(_)) => Outcome::NotLeader,
                Err(_) => Outcome::Unknown,
            };
            pb::ProposalReply { sequence, outcome: outcome as i32 }
        });
        let message = pb::ProposalReplies { replies: replies.collect() };
        Some((Ok(message), Some((settled, room, removal))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proposal_does_not_wait_for_a_stream_that_is_gone() {
        let (room, stop) = (Semaphore::new(1), CancellationToken::new());
        let (replies, settled) = mpsc::channel::<()>(1);
        assert!(makes_room(&room, &replies, &stop).await);
        let mut waiting = pin!(makes_room(&room, &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "there is no room");
        drop(settled);
        assert!(!waiting.await, "nobody takes replies any more");
        let (replies, _settled) = mpsc::channel::<()>(1);
        let mut waiting = pin!(makes_room(&room, &replies, &stop));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "there is no room");
        stop.cancel();
        assert!(!waiting.await, "the member stops");
    }
}
