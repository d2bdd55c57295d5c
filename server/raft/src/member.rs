//! A running member: consensus, state, log and database put together.

mod admission;
mod ask;
mod clients;
mod duties;
mod force;
mod lifetime;
mod measure;
mod open;
pub(crate) mod options;
mod parts;
mod requests;
mod roster;
mod start;
mod state;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::Fault;
use quorate_core::mvcc::View;
use quorate_core::store::Shared;
use quorate_storage::OnFault;
use quorate_storage::base::engine::Sizes;
use quorate_storage::data_dir::{DataDir, Identity};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::consensus::adapter::OpenRaft;
use crate::disk::quota::Quota;
use crate::ground::connection::{Dial, Serve};
use crate::ground::consensus::{Consensus, RaftStatus};
use crate::ground::exclusion::Exclusion;
use crate::ground::member::MemberInfo;
use crate::ground::progress::Progress;
use crate::ground::request::RequestError;
use crate::leader::integrity::{Inconsistent, Integrity};
use crate::member::ask::Asking;
use crate::member::lifetime::Lifetime;
use crate::member::options::{Options, Origin, StartError};
use crate::member::requests::Requests;
use crate::member::roster::Roster;
use crate::member::start::{Assembled, assemble};
use crate::member::state::State;
use crate::metrics::Metrics;
use crate::network::lend::lend;
use crate::network::links::Links;
use crate::port::entrance::PeerPort;
use crate::port::loan::Loan;
use crate::port::service::Answers;
use crate::read::ReadBarrier;

/// A running member; ended by [`Member::stop`].
pub struct Member {
    identity: Identity,
    options: Options,
    state: State,
    consensus: Arc<OpenRaft>,
    requests: Requests,
    asking: Asking,
    roster: Arc<Roster>,
    links: Arc<Links>,
    answers: Arc<Answers>,
    metrics: Arc<Metrics>,
    lifetime: Lifetime,
    /// URLs at which there may be members, for one that has yet to hear of them.
    acquaintances: Vec<String>,
}

impl Member {
    /// Starts the member to which `data_dir` belongs. `dial` reaches the others. `on_fault` is
    /// called when the member cannot go on; the process must then stop.
    pub async fn start(
        data_dir: DataDir,
        identity: Identity,
        origin: Origin,
        options: Options,
        dial: Arc<dyn Dial>,
        on_fault: OnFault,
    ) -> Result<Self, StartError> {
        let acquaintances = match &origin {
            Origin::Joined(urls) => urls.clone(),
            Origin::Founded(_) | Origin::Forced(_) => Vec::new(),
        };
        let fault = on_fault.clone();
        let parts = assemble(&data_dir, identity, origin, &options, dial, fault).await?;
        let barrier = Arc::new(ReadBarrier::new());
        let requests = parts.requests(&options, barrier.clone());
        let asking = parts.asking(&options, barrier);
        let answers = parts.answers(&options, &asking, on_fault.clone());
        let Assembled { state, metrics, roster, links, consensus, tasks, parting, .. } = parts;
        let stopping = CancellationToken::new();
        let lifetime = Lifetime { tasks, parting, stopping, on_fault, _data_dir: data_dir };
        let member = Self {
            identity,
            options,
            state,
            consensus,
            requests,
            asking,
            roster,
            links,
            answers,
            metrics,
            lifetime,
            acquaintances,
        };
        member.spawn_duties();
        Ok(member)
    }

    /// What other members call, to be served where they reach this one.
    pub fn peer_port(&self) -> PeerPort {
        PeerPort::new(&self.answers)
    }

    /// Lends connections to the other members, to be served by `serve`, until this one parts.
    pub fn lend(&self, serve: Arc<dyn Serve>) {
        let (links, tasks) = (self.links.clone(), self.lifetime.tasks.clone());
        self.lifetime.run_until_parting(lend(links, serve, self.acquaintances.clone(), tasks));
    }

    /// Lets in who asks with these headers to lend a connection. Whether it has shown a certificate
    /// decides what is believed of what is answered over it.
    ///
    /// # Errors
    /// Why it is not let in, as for a call.
    pub fn borrow(&self, headers: http::HeaderMap, is_proven: bool) -> Result<Loan, String> {
        let loan = Loan::new(&self.answers, &self.links, headers, is_proven);
        loan.map_err(|refusal| refusal.message().to_owned())
    }

    /// The bytes that may be in flight.
    pub fn budget(&self) -> &Budget {
        self.links.budget()
    }

    /// Waits until it turns out that the cluster goes on without this member, which then must stop.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn excluded(&self) -> Exclusion {
        self.links.notice().posted().await
    }

    /// Which member of which cluster this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    fn integrity(&self) -> Integrity {
        Integrity {
            store: self.state.store.clone(),
            barrier: self.requests.barrier.clone(),
            links: self.links.clone(),
            consensus: self.consensus.clone(),
        }
    }

    /// Compares this member's data with those of the others, if that is to be done at the start.
    ///
    /// # Errors
    /// They differ: this member must not serve.
    pub async fn check_start(&self) -> Result<(), Inconsistent> {
        match self.options.integrity.at_start {
            true => self.integrity().check_start().await,
            false => Ok(()),
        }
    }

    /// The store as it is now, for one request.
    pub fn view(&self) -> View {
        self.state.store.view()
    }

    /// What readers share.
    pub fn store(&self) -> &Arc<Shared> {
        &self.state.store
    }

    /// How far the state machine has come.
    pub fn progress(&self) -> &Progress {
        &self.state.progress
    }

    /// Where the member stands.
    pub fn status_now(&self) -> RaftStatus {
        self.consensus.status_now()
    }

    /// Where the member stands, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<RaftStatus> {
        self.consensus.status()
    }

    /// Index of the last log entry that this member knows to be committed.
    pub fn committed(&self) -> u64 {
        self.consensus.committed()
    }

    /// How long a request may take.
    pub fn request_timeout(&self) -> Duration {
        self.options.request_timeout
    }

    /// How long a member goes without hearing of a leader before it wants to lead.
    pub fn election_timeout(&self) -> Duration {
        self.options.election_timeout
    }

    /// The quota.
    pub fn quota(&self) -> &Quota {
        &self.state.quota
    }

    /// Sizes of the database, with what is still in memory counted as in use.
    pub fn sizes(&self) -> Sizes {
        self.state.sizes()
    }

    /// The members of the cluster by id, ascending, as of the last entry that was applied.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.roster.members()
    }

    /// Whether this member is a learner: it is to have no vote, and does not serve everything.
    pub fn is_learner(&self) -> bool {
        self.roster.is_learner()
    }

    /// Waits until this member has its vote, if it is to have one: the others count on it from then
    /// on.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn counted_in(&self) {
        self.roster.counted_in().await;
    }

    /// Ids of all leases, those that end first in front.
    pub fn leases(&self) -> Vec<i64> {
        self.asking.leases.lessor.leases()
    }

    /// Waits until the history that a compaction at `revision` gave up is deleted.
    pub async fn history_deleted(&self, revision: i64) -> Result<(), RequestError> {
        self.state.history_deleted(revision, &*self.consensus).await
    }

    /// Rewrites the database without the space that is free in it. Reads and writes go on.
    pub async fn defragment(&self) -> Result<(), String> {
        self.state.defragment().await
    }

    /// Flushes everything that is applied, and waits for it.
    pub async fn flush(&self) {
        self.state.flush(&*self.consensus).await;
    }

    /// Ends the member because its state cannot be read: it could answer wrongly from here on.
    pub fn fail(&self, fault: &Fault) {
        (self.lifetime.on_fault)(fault.to_string());
    }

    /// Withdraws from what the members decide together, before requests end. Leadership goes to
    /// another one that can take it, so that the others need not find out that this one is gone.
    /// One without which the cluster goes on hears no decision any more: nobody waits for it.
    pub async fn withdraw(&self) {
        if self.state.flusher.waits_for_room() {
            // Nobody may wait for a disk that has none. What fails was acknowledged to nobody.
            self.state.flusher.give_up_room();
        }
        if self.links.notice().is_posted() {
            self.consensus.shutdown().await;
        } else if self.status_now().leader == Some(self.identity.member_id) {
            self.asking.membership.hand_over().await;
        }
    }

    /// Ends what other members keep open here, and this one there: no client may wait any more.
    pub fn part(&self) {
        self.lifetime.parting.cancel();
    }

    /// Stops the member: what was applied is flushed, so that the next start has nothing to replay.
    /// Requests that come after are refused.
    pub async fn stop(&self) {
        self.state.flush_at_the_end(&*self.consensus).await;
        self.lifetime.stop();
        self.consensus.shutdown().await;
        self.lifetime.tasks.wait().await;
    }
}
