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
use super::link::Link;
use super::links::Links;
use super::standing::Standing;
use crate::ground::member::Peer;
use crate::log::snapshot::SnapshotHandle;
use crate::log::types::{TypeConfig, Vote};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotHandle>;
/// Creates openraft's clients.
pub(crate) struct Factory(pub(crate) Arc<Links>);

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, _node: &Peer) -> Network {
        Network { route: Route { links: self.0.clone(), target }, beats: None, beaten: None }
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &Peer) -> Network {
        let route = Route { links: self.0.clone(), target };
        Network { route, beats: Some(Standing::new()), beaten: None }
    }
}

/// openraft's client for one member. The connections belong to [`Links`], which has one for each
/// kind of message; all clients share them.
pub(crate) struct Network {
    route: Route,
    /// The heartbeat stream; `None` in the client for replication.
    beats: Option<Standing<pb::AppendRequest, pb::AppendReply>>,
    /// Send time of the last heartbeat, if it was answered.
    beaten: Option<Instant>,
}

/// Makes calls to one member.
struct Route {
    links: Arc<Links>,
    target: u64,
}

impl Route {
    fn link(&self) -> Result<Link, Error> {
        self.links.to(self.target).ok_or_else(|| {
            let error = AnyError::error(format!("{:x} is no member", self.target));
            RPCError::Unreachable(Unreachable::new(&error))
        })
    }

    /// Awaits a call for at most `within`. A failure is counted; after a timeout, [`Links::renew`]
    /// may replace the connections.
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
                id: self.links.identity().member_id,
                target: self.target,
                timeout: within,
            }),
        };
        if let Some(link) = self.links.to(self.target) {
            link.metrics.sent_failures.inc();
        }
        if matches!(failure, RPCError::Timeout(_)) {
            self.links.renew(self.target);
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
        if self.route.links.flow().borrow().is_silent {
            let error = AnyError::error("no quorum answers: another leader may be elected");
            return Err(RPCError::Unreachable(Unreachable::new(&error)));
        }
        let (mine, last) = (request.vote, codec::last_of(&request));
        let Link { mut control, metrics, .. } = self.route.link()?;
        let started = Instant::now();
        // As in etcd, a late heartbeat means that this member is overloaded.
        if self.beaten.take().is_some_and(|last| last.elapsed() > self.route.links.lateness()) {
            self.route.links.metrics().heartbeat_late();
        }
        let beats = self.beats.get_or_insert_with(Standing::new);
        let call = beats.ask(
            async move |requests| control.heartbeat(requests).await,
            codec::append_to_wire(request),
        );
        let reply = self.route.call(RPCTypes::AppendEntries, option.hard_ttl(), call).await;
        let reply = reply?;
        self.beaten = Some(started);
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
        if self.beats.is_some() {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let client = self.route.link()?.log;
            let flow = self.route.links.flow().subscribe();
            let replies = append(client, input, self.route.links.stall(), flow).await?;
            let (links, target) = (self.route.links.clone(), self.route.target);
            let replies = replies.inspect(move |reply| {
                if matches!(reply, Err(RPCError::Network(_))) {
                    links.renew(target);
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
        let mut client = self.route.link()?.control;
        let call = client.vote(codec::vote_request_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.route.call(RPCTypes::Vote, option.hard_ttl(), call).await?;
        voted(reply, &request.vote)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Error> {
        let mut client = self.route.link()?.control;
        let call =
            client.pre_vote(codec::vote_request_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.route.call(RPCTypes::Vote, option.hard_ttl(), call).await?;
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
        let client = self.route.link().map_err(streaming)?.bulk;
        let transfer = self.route.links.metrics().peers.begin_sending(self.route.target);
        let account = self.route.links.budget().account();
        let sent = super::transfer::send(client, vote, snapshot, account, cancel).await;
        let sent = sent.inspect_err(|_| self.route.links.renew(self.route.target))?;
        codec::check_term(&sent.vote, &vote).map_err(|e| streaming(malformed(&e)))?;
        // Another vote means that the receiver follows a later leader.
        if sent.vote == vote {
            transfer.arrived();
            let took = started.elapsed().as_secs_f64();
            self.route.links.metrics().cluster.snapshot_durations.observe(took);
        }
        Ok(sent)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Error> {
        let mut client = self.route.link()?.control;
        let call =
            client.transfer_leader(codec::transfer_to_wire(&request)).map_ok(Response::into_inner);
        let reply = self.route.call(RPCTypes::TransferLeader, option.hard_ttl(), call).await?;
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
