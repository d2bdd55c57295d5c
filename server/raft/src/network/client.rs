//! openraft's calls to other members.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryFutureExt};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, RaftNetworkFactory, RaftNetworkV2};
use quorate_proto::peer as pb;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::append::{Appended, Error, append, failed, malformed};
use super::codec;
use super::peer_channels::PeerChannels;
use super::peer_pool::PeerPool;
use super::persistent_call::PersistentCall;
use crate::ground::member::Peer;
use crate::log::snapshot::SnapshotHandle;
use crate::log::types::{TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;
/// Creates openraft's clients.
pub(crate) struct Factory(pub(crate) Arc<PeerPool>);

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, _node: &Peer) -> Network {
        Network {
            target: Target { pool: self.0.clone(), member: target },
            call: None,
            last_heartbeat: None,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &Peer) -> Network {
        let target = Target { pool: self.0.clone(), member: target };
        Network { target, call: Some(PersistentCall::new()), last_heartbeat: None }
    }
}

/// openraft's client for one member. The connections belong to [`PeerPool`]: the pool has one
/// connection for each member and kind of message. All clients for a member share its connections.
pub(crate) struct Network {
    target: Target,
    /// The call for heartbeats; `None` in the client for replication.
    call: Option<PersistentCall<pb::AppendRequest, pb::AppendReply>>,
    /// Send time of the last heartbeat, if it was answered.
    last_heartbeat: Option<Instant>,
}

/// Makes calls to one member.
struct Target {
    pool: Arc<PeerPool>,
    member: u64,
}

impl Target {
    fn peer(&self) -> Result<PeerChannels, Error> {
        self.pool.peer(self.member).ok_or_else(|| {
            let error = AnyError::error(format!("{:x} is not a member", self.member));
            RPCError::Unreachable(Unreachable::new(&error))
        })
    }

    /// Awaits a call for at most `within`. A failure is counted; after a timeout,
    /// [`PeerPool::renew`] may replace the connections.
    async fn call<T>(
        &self,
        action: RPCTypes,
        within: Duration,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        let failure = match tokio::time::timeout(within, call).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(status)) => failed(&status),
            Err(_) => RPCError::Timeout(Timeout {
                action,
                id: self.pool.identity().member_id,
                target: self.member,
                timeout: within,
            }),
        };
        if let Some(peer) = self.pool.peer(self.member) {
            peer.metrics.sent_failures.inc();
        }
        if matches!(failure, RPCError::Timeout(_)) {
            self.pool.renew(self.member);
        }
        Err(failure)
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Error> {
        if self.target.pool.flow().borrow().is_silent {
            let error = AnyError::error("no quorum answers this leader, so it sends no heartbeat");
            return Err(RPCError::Unreachable(Unreachable::new(&error)));
        }
        let mine = request.vote;
        let last = codec::last_of(&request);
        let PeerChannels { mut control, metrics, .. } = self.target.peer()?;
        let started = Instant::now();
        // As in etcd, a late heartbeat means that this member is overloaded.
        let late_after = self.target.pool.heartbeat_late_after();
        if self.last_heartbeat.take().is_some_and(|last| last.elapsed() > late_after) {
            self.target.pool.metrics().heartbeat_late();
        }
        let call = self.call.get_or_insert_with(PersistentCall::new);
        let call = call.ask(
            async move |requests| control.heartbeat(requests).await,
            codec::append_to_wire(request),
        );
        let reply = self.target.call(RPCTypes::AppendEntries, option.hard_ttl(), call).await?;
        self.last_heartbeat = Some(started);
        metrics.round_trip.observe(started.elapsed().as_secs_f64());
        let response = codec::response_from_wire(reply, last).map_err(|e| malformed(&e))?;
        if let AppendEntriesResponse::HigherVote(vote) = &response {
            codec::check_term(vote, &mine).map_err(|e| malformed(&e))?;
        }
        Ok(response)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> openraft::base::BoxFuture<'s, Result<openraft::base::BoxStream<'s, Appended>, Error>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        if self.call.is_some() {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let client = self.target.peer()?.log;
            let flow = self.target.pool.flow().subscribe();
            let replies = append(client, input, self.target.pool.reply_timeout(), flow).await?;
            let pool = self.target.pool.clone();
            let member = self.target.member;
            let replies = replies.inspect(move |reply| {
                if matches!(reply, Err(RPCError::Network(_))) {
                    pool.renew(member);
                }
            });
            let replies: openraft::base::BoxStream<'s, _> = Box::pin(replies);
            Ok(replies)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let mut client = self.target.peer()?.control;
        let call = client.vote(codec::vote_request_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.target.call(RPCTypes::Vote, option.hard_ttl(), call).await?;
        voted(reply, &request.vote)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let mut client = self.target.peer()?.control;
        let call =
            client.pre_vote(codec::vote_request_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.target.call(RPCTypes::Vote, option.hard_ttl(), call).await?;
        voted(reply, &request.vote)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let started = Instant::now();
        let client = self.target.peer().map_err(streaming)?.bulk;
        let transfer = self.target.pool.metrics().peers.begin_sending(self.target.member);
        let account = self.target.pool.budget().account();
        let sent = super::transfer::send(client, vote, snapshot, account, cancel).await;
        let sent = sent.inspect_err(|_| self.target.pool.renew(self.target.member))?;
        codec::check_term(&sent.vote, &vote).map_err(|e| streaming(malformed(&e)))?;
        // Another vote means that the receiver follows a later leader.
        if sent.vote == vote {
            transfer.arrived();
            let took = started.elapsed().as_secs_f64();
            self.target.pool.metrics().cluster.snapshot_durations.observe(took);
        }
        Ok(sent)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        let mut client = self.target.peer()?.control;
        let call =
            client.transfer_leader(codec::transfer_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.target.call(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
        codec::transferred_from_wire(reply, &request).map_err(|error| malformed(&error))
    }
}

fn voted(reply: pb::VoteReply, mine: &Vote) -> Result<VoteResponse<TypeConfig>, Error> {
    let response = codec::vote_response_from_wire(reply).map_err(|error| malformed(&error))?;
    codec::check_term(&response.vote, mine).map_err(|error| malformed(&error))?;
    Ok(response)
}

fn streaming(error: Error) -> StreamingError<TypeConfig> {
    match error {
        RPCError::Unreachable(error) => StreamingError::Unreachable(error),
        RPCError::Network(error) => StreamingError::Network(error),
        RPCError::Timeout(error) => StreamingError::Timeout(error),
        RPCError::RemoteError(error) => {
            StreamingError::Network(NetworkError::new(&AnyError::error(error.to_string())))
        }
    }
}
