//! A running member: consensus, state, log and database together.

mod admission;
mod capability;
mod clients;
mod duties;
pub(crate) mod error;
mod force_new_cluster;
mod leader_client;
mod lifetime;
mod measure;
mod member_list;
mod open;
pub(crate) mod options;
mod parts;
mod requests;
mod start;
pub(crate) mod start_mode;
mod state;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::mvcc::View;
use quorate_core::store::Shared;
use quorate_core::{Ending, Fault};
use quorate_storage::OnFault;
use quorate_storage::data_dir::{DataDir, Identity};
use quorate_storage::db::engine::Sizes;
use quorate_storage::db::{JobError, end_reason};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::consensus::adapter::OpenRaft;
use crate::disk::quota::Quota;
use crate::ground::connection::{Dial, ServeReverse};
use crate::ground::consensus::{Consensus, RaftStatus};
use crate::ground::exclusion::Exclusion;
use crate::ground::logins::{LoginListener, Logins};
use crate::ground::member::MemberListing;
use crate::ground::progress::Progress;
use crate::ground::request::RequestError;
use crate::leader::integrity::{Inconsistent, Integrity};
use crate::member::error::StartError;
use crate::member::leader_client::LeaderClient;
use crate::member::lifetime::Lifetime;
use crate::member::member_list::MemberList;
use crate::member::options::Options;
use crate::member::requests::Requests;
use crate::member::start::{Assembled, assemble};
use crate::member::start_mode::StartMode;
use crate::member::state::State;
use crate::metrics::Metrics;
use crate::network::peer_pool::PeerPool;
use crate::network::reverse_offer::offer_connections;
use crate::port::peer_port::PeerPort;
use crate::port::reverse_connection::ReverseConnection;
use crate::port::service::PeerHandlers;
use crate::read::ReadBarrier;

/// A running member. End it with [`Member::stop`].
pub struct Member {
    identity: Identity,
    options: Options,
    state: State,
    consensus: Arc<OpenRaft>,
    requests: Requests,
    leader_client: LeaderClient,
    member_list: Arc<MemberList>,
    pool: Arc<PeerPool>,
    handlers: Arc<PeerHandlers>,
    metrics: Arc<Metrics>,
    logins: Arc<Logins>,
    lifetime: Lifetime,
    /// Peer URLs at which to find the members, until this member is in its own log.
    known_urls: Vec<String>,
}

impl Member {
    /// Starts the member that `data_dir` belongs to. `dial` connects to other members. `on_fault`
    /// is called when the member cannot continue; the process must then stop.
    ///
    /// # Errors
    /// The data directory cannot be used, or the raft protocol cannot start.
    pub async fn start(
        data_dir: DataDir,
        identity: Identity,
        mode: StartMode,
        options: Options,
        dial: Arc<dyn Dial>,
        on_fault: OnFault,
    ) -> Result<Self, StartError> {
        let known_urls = match &mode {
            StartMode::Join(urls) => urls.clone(),
            StartMode::NewCluster(_) | StartMode::ForceNewCluster(_) => Vec::new(),
        };
        let fault = on_fault.clone();
        let parts = assemble(&data_dir, identity, mode, &options, dial, fault).await?;
        let barrier = Arc::new(ReadBarrier::new());
        let requests = parts.requests(&options, barrier.clone());
        let leader_client = parts.leader_client(&options, barrier);
        let handlers = parts.handlers(&options, &leader_client, on_fault.clone());
        let Assembled {
            state,
            metrics,
            member_list,
            logins,
            pool,
            consensus,
            tasks,
            closing_streams,
            ..
        } = parts;
        let stopping = CancellationToken::new();
        let lifetime = Lifetime { tasks, closing_streams, stopping, on_fault, _data_dir: data_dir };
        let member = Self {
            identity,
            options,
            state,
            consensus,
            requests,
            leader_client,
            member_list,
            pool,
            handlers,
            metrics,
            logins,
            lifetime,
            known_urls,
        };
        member.spawn_duties();
        Ok(member)
    }

    /// The service for other members, to be served at this member's peer URLs.
    pub fn peer_port(&self) -> PeerPort {
        PeerPort::new(&self.handlers)
    }

    /// Offers reverse connections to the other members and serves them with `server`, until
    /// [`Member::close_peer_streams`].
    pub fn offer_reverse_connections(&self, server: Arc<dyn ServeReverse>) {
        let known_urls = self.known_urls.clone();
        let tasks = self.lifetime.tasks.clone();
        let offers = offer_connections(self.pool.clone(), server, known_urls, tasks);
        self.lifetime.run_until_streams_close(offers);
    }

    /// Accepts a member's offer of a reverse connection, by the headers of its request. `is_proven`
    /// is true if that member has presented a certificate: answers over the connection are then
    /// trusted more.
    ///
    /// # Errors
    /// The reason for the refusal, as for a call.
    pub fn accept_reverse_connection(
        &self,
        headers: http::HeaderMap,
        is_proven: bool,
    ) -> Result<ReverseConnection, String> {
        let accepted = ReverseConnection::new(&self.handlers, &self.pool, headers, is_proven);
        accepted.map_err(|refusal| refusal.message().to_owned())
    }

    /// Makes `listener` the one that learns of logins from now on, if there is none.
    pub fn listen_for_logins(&self, listener: Arc<dyn LoginListener>) {
        self.logins.listen(listener);
    }

    /// The memory budget for data in flight.
    pub fn budget(&self) -> &Budget {
        self.pool.budget()
    }

    /// Waits until this member learns that the cluster continues without it. The member must then
    /// stop.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn excluded(&self) -> Exclusion {
        self.pool.notice().posted().await
    }

    /// The ids of this member and its cluster.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn integrity(&self) -> Integrity {
        Integrity {
            store: self.state.store.clone(),
            barrier: self.requests.barrier.clone(),
            pool: self.pool.clone(),
            consensus: self.consensus.clone(),
        }
    }

    /// Compares this member's data with other members' data, if that is enabled for the start.
    ///
    /// # Errors
    /// The data differ: this member must not serve.
    pub async fn check_start(&self) -> Result<(), Inconsistent> {
        if self.options.integrity.at_start { self.integrity().check_start().await } else { Ok(()) }
    }

    /// The current state of the store, for one request.
    pub fn view(&self) -> View {
        self.state.store.view()
    }

    /// The part of the store that readers share.
    pub fn store(&self) -> &Arc<Shared> {
        &self.state.store
    }

    /// The progress of the state machine.
    pub fn progress(&self) -> &Progress {
        &self.state.progress
    }

    /// The current term and leader.
    pub fn status_now(&self) -> RaftStatus {
        self.consensus.status_now()
    }

    /// A receiver of the current term and leader, and of every change.
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        self.consensus.status()
    }

    /// Index of the last log entry that this member knows to be committed; 0 without one.
    pub fn committed(&self) -> u64 {
        self.consensus.committed()
    }

    /// The timeout of a request.
    pub fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// Time without a leader after which a member starts an election.
    pub fn election_timeout(&self) -> Duration {
        self.options.election_timeout
    }

    /// The space quota.
    pub fn quota(&self) -> &Quota {
        &self.state.quota
    }

    /// The sizes of the database. Data that are only in memory count as in use.
    pub fn sizes(&self) -> Sizes {
        self.state.sizes()
    }

    /// The members of the cluster as of the last applied entry.
    pub fn members(&self) -> MemberListing {
        self.member_list.listing()
    }

    /// Whether this member is a learner. A learner has no vote and does not serve every request.
    pub fn is_learner(&self) -> bool {
        self.member_list.is_learner()
    }

    /// Waits until this member has its vote, unless it is a learner. From then on the other members
    /// count on it.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn wait_for_vote(&self) {
        self.member_list.wait_for_vote().await;
    }

    /// Ids of all leases. On the leader, the earliest to expire come first.
    pub fn leases(&self) -> Vec<i64> {
        self.leader_client.leases.lessor.leases()
    }

    /// Waits until the history that a compaction at `revision` removes is deleted.
    ///
    /// # Errors
    /// The member is stopping.
    pub async fn history_deleted(&self, revision: i64) -> Result<(), RequestError> {
        self.state.history_deleted(revision, &*self.consensus).await
    }

    /// Rewrites the database without its free space. Reads and writes continue during that.
    ///
    /// # Errors
    /// The database could not be copied, for example because the disk is full.
    pub async fn defragment(&self) -> Result<(), JobError> {
        self.state.defragment().await
    }

    /// Flushes everything applied and waits for the end of the flush.
    pub async fn flush(&self) {
        self.state.flush(&*self.consensus).await;
    }

    /// Stops the member because its state cannot be read: further answers could be wrong.
    pub fn fail(&self, fault: &Fault) {
        (self.lifetime.on_fault)(Ending { reason: end_reason(fault), text: fault.to_string() });
    }

    /// Prepares the stop, before the requests end. A leader transfers its leadership, so that the
    /// others need not detect its loss. An excluded member learns of no further decisions, so it
    /// stops consensus at once, and no request waits.
    pub async fn prepare_shutdown(&self) {
        if self.state.flusher.waits_for_space() {
            // No request may wait for a full disk. The writes that fail were not acknowledged.
            self.state.flusher.stop_waiting_for_space();
        }
        if self.pool.notice().is_posted() {
            self.consensus.shutdown().await;
        } else if self.status_now().leader == Some(self.identity.member_id) {
            self.leader_client.membership.transfer_leadership().await;
        }
    }

    /// Cancels inbound and outbound peer streams. Call it when no client request is left.
    pub fn close_peer_streams(&self) {
        self.lifetime.closing_streams.cancel();
    }

    /// Stops the member. Flushes everything applied, so that the next start has nothing to replay.
    /// Later requests are refused.
    pub async fn stop(&self) {
        self.state.flush_at_the_end(&*self.consensus).await;
        self.lifetime.stop();
        self.consensus.shutdown().await;
        self.lifetime.tasks.wait().await;
    }
}
