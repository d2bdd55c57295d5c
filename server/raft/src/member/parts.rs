//! Building the parts of a member from an assembled member.

use std::sync::Arc;

use quorate_storage::OnFault;

use super::admission::Admission;
use super::ask::Asking;
use super::options::Options;
use super::requests::Requests;
use super::start::Assembled;
use crate::ground::consensus::Consensus;
use crate::leader::leases::Leases;
use crate::membership::Membership;
use crate::port::appends::Appends;
use crate::port::claims::Claims;
use crate::port::guard::Guard;
use crate::port::introduction::Introduction;
use crate::port::proposals::Proposals;
use crate::port::receive::Snapshots;
use crate::port::service::Answers;
use crate::read::ReadBarrier;

impl Assembled {
    /// The part that takes clients' requests to consensus.
    pub(super) fn requests(&self, options: &Options, barrier: Arc<ReadBarrier>) -> Requests {
        Requests {
            me: self.identity.member_id,
            consensus: self.consensus.clone(),
            barrier,
            heard: self.consensus.heard().clone(),
            store: self.state.store.clone(),
            quota: self.state.quota.clone(),
            metrics: self.metrics.clone(),
            request_timeout: options.request_timeout,
            election_timeout: options.election_timeout,
            admission: Admission::new(self.links.budget().account()),
        }
    }

    /// The part that asks the leader, which may be this member.
    pub(super) fn asking(&self, options: &Options, barrier: Arc<ReadBarrier>) -> Asking {
        let me = self.identity.member_id;
        let (consensus, store) = (self.consensus.clone(), self.state.store.clone());
        let (rules, metrics) = (options.membership, self.metrics.clone());
        Asking {
            me,
            links: self.links.clone(),
            leases: Arc::new(Leases {
                me,
                status: self.consensus.status(),
                barrier: barrier.clone(),
                lessor: self.lessor.clone(),
            }),
            membership: Arc::new(Membership::new(me, consensus, store, rules, metrics)),
            barrier,
            roster: self.roster.clone(),
            progress: self.state.progress.clone(),
            status: self.consensus.status(),
            metrics: self.metrics.clone(),
            request_timeout: options.request_timeout,
            election_timeout: options.election_timeout,
        }
    }

    /// The part that answers other members.
    pub(super) fn answers(
        &self,
        options: &Options,
        asking: &Asking,
        on_fault: OnFault,
    ) -> Arc<Answers> {
        let (consensus, metrics) = (self.consensus.clone(), self.metrics.clone());
        let (store, peers) = (self.state.store.clone(), self.roster.peers.clone());
        let guard = Arc::new(Guard::new(self.identity, store.clone(), peers.clone()));
        let claims = Arc::new(Claims {
            me: self.identity.member_id,
            consensus: consensus.clone(),
            store: store.clone(),
            links: self.links.clone(),
        });
        Arc::new(Answers {
            appends: Arc::new(Appends {
                consensus: consensus.clone(),
                claims: claims.clone(),
                metrics: metrics.clone(),
                on_fault,
            }),
            snapshots: Snapshots {
                consensus: consensus.clone(),
                claims: claims.clone(),
                flusher: self.state.flusher.clone(),
                metrics,
            },
            proposals: Proposals {
                consensus: consensus.clone(),
                claims: claims.clone(),
                guard: guard.clone(),
                progress: self.state.progress.clone(),
                tasks: self.tasks.clone(),
                parting: self.parting.clone(),
            },
            introduction: Introduction {
                identity: self.identity,
                version: options.version.clone(),
                store: store.clone(),
                peers,
                status: consensus.status(),
            },
            leases: asking.leases.clone(),
            membership: asking.membership.clone(),
            parting: self.parting.clone(),
            guard,
            claims,
            consensus,
            store,
        })
    }
}
