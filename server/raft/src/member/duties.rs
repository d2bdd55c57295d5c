//! Starts the background tasks of a member.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Member;
use super::options::Options;
use super::requests::Requests;
use super::start::settings;
use super::state::State;
use crate::disk::flusher::Flusher;
use crate::disk::space;
use crate::ground::consensus::Consensus;
use crate::leader::compactor::Compactor;
use crate::leader::duties::Duties;
use crate::membership::Membership;
use crate::network::exclusion::ask_around;
use crate::network::probe::probe;

impl Member {
    pub(super) fn spawn_duties(&self) {
        let Requests { barrier, .. } = &self.requests;
        let (barrier, consensus) = (barrier.clone(), self.consensus.clone());
        let (notice, progress) = (self.links.notice().clone(), self.state.progress.clone());
        let stop = self.lifetime.stopping.clone();
        let reads = async move { barrier.run(consensus, progress, notice, stop).await };
        self.lifetime.tasks.spawn(reads);
        self.spawn_state_duties();
        self.spawn_leader_duties();
        let patience = self.options.election_timeout;
        let (consensus, settings) = (self.consensus.clone(), settings(&self.options));
        self.run(async move { consensus.beat(settings).await });
        self.run(ask_around(self.links.clone(), self.status()));
        self.run(probe(self.links.clone(), patience));
    }

    /// Runs a task until the member stops.
    fn run(&self, duty: impl Future<Output = ()> + Send + 'static) {
        let stop = self.lifetime.stopping.clone();
        self.lifetime.tasks.spawn(async move { stop.run_until_cancelled(duty).await });
    }

    /// Starts the tasks for the quota and the disk.
    fn spawn_state_duties(&self) {
        let Options { election_timeout, request_timeout, .. } = self.options;
        let (me, consensus) = (self.identity.member_id, self.consensus.clone());
        let State { store, flusher, quota, .. } = &self.state;
        let (looks, flushes) = (quota.clone(), consensus.clone());
        self.run(space::watch(flusher.clone(), store.clone(), looks, flushes));
        let (quota, store) = (quota.clone(), store.clone());
        self.run(async move { quota.raise(me, &store, &*consensus, request_timeout).await });
        let (consensus, membership) = (self.consensus.clone(), self.asking.membership.clone());
        let flusher = flusher.clone();
        self.run(async move {
            watch_disk(me, &*consensus, &membership, &flusher, election_timeout).await;
        });
    }

    /// Starts the tasks for leases, compaction, the log and data checks. Some act only while this
    /// member leads.
    fn spawn_leader_duties(&self) {
        let me = self.identity.member_id;
        let duties = Arc::new(Duties {
            member_id: me,
            consensus: self.consensus.clone(),
            lessor: self.asking.leases.lessor.clone(),
            flusher: self.state.flusher.clone(),
            metrics: self.metrics.clone(),
            lease_extension: self.options.election_timeout,
        });
        if let Some(kept) = self.options.auto_compaction {
            let (consensus, store) = (self.consensus.clone(), self.state.store.clone());
            self.run(Compactor::new(me, consensus, store, kept).run());
        }
        let (lead, expire, trim) = (duties.clone(), duties.clone(), duties.clone());
        let halves = duties.clone();
        self.run(async move { halves.drop_halves().await });
        self.run(async move { lead.follow_leadership().await });
        self.run(async move { expire.expire_leases().await });
        self.run(async move { trim.trim_log().await });
        self.run(async move { duties.flush_old().await });
        let (consensus, membership) = (self.consensus.clone(), self.asking.membership.clone());
        let heartbeat = self.options.heartbeat;
        self.run(async move { complete_members(me, &*consensus, &membership, heartbeat).await });
        let (integrity, checks) = (self.integrity(), self.options.integrity);
        self.run(async move { integrity.run(checks).await });
    }
}

/// Hands over the leadership when the disk hangs. A leader can continue for a while on the other
/// members' disks, but not forever, and it could not vote.
async fn watch_disk(
    me: u64,
    consensus: &dyn Consensus,
    membership: &Membership,
    flusher: &Flusher,
    patience: Duration,
) {
    let mut ticks = tokio::time::interval(patience);
    loop {
        ticks.tick().await;
        let stalled = flusher.wal().stalled_for();
        if stalled > patience {
            tracing::warn!(seconds = stalled.as_secs(), "the disk does not finish a write");
            if consensus.status_now().leader == Some(me) {
                membership.hand_over().await;
            }
        }
    }
}

/// Gives waiting members their vote while this member leads.
async fn complete_members(
    me: u64,
    consensus: &dyn Consensus,
    membership: &Membership,
    every: Duration,
) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if consensus.status_now().leader == Some(me) {
            membership.complete().await;
        }
    }
}
