//! Building the parts of a member from an assembled member.

use std::sync::Arc;

use quorate_storage::OnFault;

use super::admission::Admission;
use super::leader_client::LeaderClient;
use super::options::Options;
use super::requests::Requests;
use super::start::Assembled;
use crate::ground::consensus::Consensus;
use crate::leader::leases::Leases;
use crate::membership::Membership;
use crate::port::append_handler::AppendHandler;
use crate::port::describe_handler::DescribeHandler;
use crate::port::guard::Guard;
use crate::port::proposal_handler::ProposalHandler;
use crate::port::service::PeerHandlers;
use crate::port::snapshot_handler::SnapshotHandler;
use crate::port::validator::Validator;
use crate::read::ReadBarrier;

impl Assembled {
    /// The part that takes clients' requests to consensus.
    pub(super) fn requests(&self, options: &Options, barrier: Arc<ReadBarrier>) -> Requests {
        Requests {
            me: self.identity.member_id,
            consensus: self.consensus.clone(),
            barrier,
            leader_contact: self.consensus.leader_contact().clone(),
            store: self.state.store.clone(),
            quota: self.state.quota.clone(),
            metrics: self.metrics.clone(),
            request_timeout: options.request_timeout,
            election_timeout: options.election_timeout,
            admission: Admission::new(options.memory_budget),
        }
    }

    /// The part that asks the leader, which may be this member.
    pub(super) fn leader_client(
        &self,
        options: &Options,
        barrier: Arc<ReadBarrier>,
    ) -> LeaderClient {
        let me = self.identity.member_id;
        let membership = Membership::new(
            me,
            self.consensus.clone(),
            self.state.store.clone(),
            options.membership,
            self.metrics.clone(),
        );
        LeaderClient {
            me,
            pool: self.pool.clone(),
            leases: Arc::new(Leases {
                me,
                status: self.consensus.status(),
                barrier: barrier.clone(),
                lessor: self.lessor.clone(),
            }),
            membership: Arc::new(membership),
            barrier,
            member_list: self.member_list.clone(),
            progress: self.state.progress.clone(),
            status: self.consensus.status(),
            metrics: self.metrics.clone(),
            request_timeout: options.request_timeout,
            election_timeout: options.election_timeout,
        }
    }

    /// The handlers of other members' calls.
    pub(super) fn handlers(
        &self,
        options: &Options,
        leader_client: &LeaderClient,
        on_fault: OnFault,
    ) -> Arc<PeerHandlers> {
        let consensus = self.consensus.clone();
        let metrics = self.metrics.clone();
        let store = self.state.store.clone();
        let peers = self.member_list.peers.clone();
        let guard = Arc::new(Guard::new(self.identity, store.clone(), peers.clone()));
        let validator = Arc::new(Validator {
            me: self.identity.member_id,
            consensus: consensus.clone(),
            store: store.clone(),
            pool: self.pool.clone(),
        });
        Arc::new(PeerHandlers {
            appends: Arc::new(AppendHandler {
                consensus: consensus.clone(),
                validator: validator.clone(),
                metrics: metrics.clone(),
                on_fault,
            }),
            snapshots: SnapshotHandler::new(
                consensus.clone(),
                validator.clone(),
                self.state.flusher.clone(),
                metrics,
            ),
            proposals: ProposalHandler {
                consensus: consensus.clone(),
                validator: validator.clone(),
                guard: guard.clone(),
                progress: self.state.progress.clone(),
                tasks: self.tasks.clone(),
                closing_streams: self.closing_streams.clone(),
            },
            describe: DescribeHandler {
                identity: self.identity,
                version: options.version.clone(),
                store: store.clone(),
                peers,
                status: consensus.status(),
            },
            leases: leader_client.leases.clone(),
            membership: leader_client.membership.clone(),
            closing_streams: self.closing_streams.clone(),
            guard,
            validator,
            consensus,
            store,
        })
    }
}
