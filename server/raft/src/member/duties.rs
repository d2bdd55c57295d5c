//! Starts the background tasks of a member.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Member;
use super::options::Options;
use super::start::settings;
use super::state::State;
use crate::disk::flusher::Flusher;
use crate::disk::space;
use crate::ground::consensus::Consensus;
use crate::leader::compactor::Compactor;
use crate::leader::duties::Duties;
use crate::membership::Membership;
use crate::network::exclusion::poll_for_exclusion;
use crate::network::probe::probe;

impl Member {
    pub(super) fn spawn_duties(&self) {
        let barrier = self.requests.barrier.clone();
        let consensus = self.consensus.clone();
        let progress = self.state.progress.clone();
        let notice = self.pool.notice().clone();
        let stop = self.lifetime.stopping.clone();
        let reads = async move { barrier.run(consensus, progress, notice, stop).await };
        self.lifetime.tasks.spawn(reads);
        self.spawn_state_duties();
        self.spawn_leader_duties();
        let consensus = self.consensus.clone();
        let settings = settings(&self.options);
        self.run(async move { consensus.send_heartbeats(settings).await });
        self.run(poll_for_exclusion(self.pool.clone(), self.status()));
        self.run(probe(self.pool.clone(), self.options.election_timeout));
    }

    /// Runs a task until the member stops.
    fn run(&self, duty: impl Future<Output = ()> + Send + 'static) {
        let stop = self.lifetime.stopping.clone();
        self.lifetime.tasks.spawn(async move { stop.run_until_cancelled(duty).await });
    }

    /// Starts the tasks for the quota and the disk.
    fn spawn_state_duties(&self) {
        let Options { election_timeout, request_timeout, .. } = self.options;
        let me = self.identity.member_id;
        let State { store, flusher, quota, .. } = &self.state;
        let watch =
            space::watch(flusher.clone(), store.clone(), quota.clone(), self.consensus.clone());
        self.run(watch);
        let quota = quota.clone();
        let store = store.clone();
        let consensus = self.consensus.clone();
        self.run(async move { quota.raise(me, &store, &*consensus, request_timeout).await });
        let consensus = self.consensus.clone();
        let membership = self.leader_client.membership.clone();
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
            lessor: self.leader_client.leases.lessor.clone(),
            flusher: self.state.flusher.clone(),
            metrics: self.metrics.clone(),
            lease_extension: self.options.election_timeout,
        });
        if let Some(kept) = self.options.auto_compaction {
            let store = self.state.store.clone();
            self.run(Compactor::new(me, self.consensus.clone(), store, kept).run());
        }
        let each = || duties.clone();
        let snapshots = each();
        let leadership = each();
        let leases = each();
        let log = each();
        self.run(async move { snapshots.drop_partial_snapshots().await });
        self.run(async move { leadership.follow_leadership().await });
        self.run(async move { leases.expire_leases().await });
        self.run(async move { log.trim_log().await });
        self.run(async move { duties.flush_old().await });
        let consensus = self.consensus.clone();
        let membership = self.leader_client.membership.clone();
        let heartbeat = self.options.heartbeat;
        self.run(async move { grant_due_votes(me, &*consensus, &membership, heartbeat).await });
        let integrity = self.integrity();
        let checks = self.options.integrity;
        self.run(async move { integrity.run(checks).await });
    }
}

/// Transfers the leadership when the disk hangs. A leader can continue for a while on the other
/// members' disks, but not forever, and it could not vote.
async fn watch_disk(
    me: u64,
    consensus: &dyn Consensus,
    membership: &Membership,
    flusher: &Flusher,
    election_timeout: Duration,
) {
    let mut ticks = tokio::time::interval(election_timeout);
    loop {
        ticks.tick().await;
        let stalled = flusher.wal().stalled_for();
        if stalled > election_timeout {
            tracing::warn!(seconds = stalled.as_secs(), "the disk has not finished a write");
            if consensus.status_now().leader == Some(me) {
                membership.transfer_leadership().await;
            }
        }
    }
}

/// Gives waiting members their vote while this member leads.
async fn grant_due_votes(
    me: u64,
    consensus: &dyn Consensus,
    membership: &Membership,
    every: Duration,
) {
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        if consensus.status_now().leader == Some(me) {
            membership.grant_due_vote().await;
        }
    }
}
