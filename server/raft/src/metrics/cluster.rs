//! Metrics about the cluster.

use std::fmt::Debug;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

use super::make::{counter, int_gauge};
use crate::ground::member::MemberInfo;

/// Metrics about the cluster.
#[derive(Debug)]
pub(crate) struct ClusterMetrics {
    is_learner: IntGauge,
    known_peers: GaugeVec,
    pub(super) heartbeat_send_failures: IntCounter,
    learner_promote_successes: IntCounter,
    learner_promote_failures: IntCounterVec,
    snapshot_apply_in_progress: IntGauge,
    /// Time to send a snapshot.
    pub(crate) snapshot_durations: Histogram,
}

fn snapshot_durations() -> Histogram {
    let name = "etcd_disk_backend_snapshot_duration_seconds";
    let opts = HistogramOpts::new(name, "Time to send a snapshot to another member.");
    let buckets = exponential_buckets(0.01, 2.0, 17).expect("constants make buckets");
    Histogram::with_opts(opts.buckets(buckets)).expect("constants make a histogram")
}

impl ClusterMetrics {
    pub(super) fn new() -> Self {
        let peers = Opts::new("etcd_network_known_peers", "1 for each member of the cluster.");
        let failures = Opts::new("etcd_server_learner_promote_failures", "Promotions refused.");
        Self {
            is_learner: int_gauge("etcd_server_is_learner", "Whether this member is a learner."),
            known_peers: GaugeVec::new(peers, &["Local", "Remote"]).expect("constants make gauges"),
            heartbeat_send_failures: counter(
                "etcd_server_heartbeat_send_failures_total",
                "Late heartbeats that this member sent while it led.",
            ),
            learner_promote_successes: counter(
                "etcd_server_learner_promote_successes",
                "Learners that this member promoted while it led.",
            ),
            learner_promote_failures: IntCounterVec::new(failures, &["Reason"])
                .expect("constants make counters"),
            snapshot_apply_in_progress: int_gauge(
                "etcd_server_snapshot_apply_in_progress_total",
                "Whether a snapshot of another member is being installed.",
            ),
            snapshot_durations: snapshot_durations(),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.is_learner.clone()))?;
        registry.register(Box::new(self.known_peers.clone()))?;
        registry.register(Box::new(self.heartbeat_send_failures.clone()))?;
        registry.register(Box::new(self.learner_promote_successes.clone()))?;
        registry.register(Box::new(self.learner_promote_failures.clone()))?;
        registry.register(Box::new(self.snapshot_apply_in_progress.clone()))?;
        registry.register(Box::new(self.snapshot_durations.clone()))
    }

    /// Sets whether a received snapshot is being installed.
    pub(crate) fn installing(&self, begins: bool) {
        self.snapshot_apply_in_progress.set(i64::from(begins));
    }

    /// Counts a promotion that this leader made or refused.
    pub(crate) fn promoted(&self, refusal: Option<&str>) {
        match refusal {
            None => self.learner_promote_successes.inc(),
            Some(reason) => self.learner_promote_failures.with_label_values(&[reason]).inc(),
        }
    }

    /// Sets the gauges to the members of the cluster.
    pub(crate) fn members_are(&self, me: u64, members: &[MemberInfo]) {
        let local = format!("{me:x}");
        self.known_peers.reset();
        for member in members {
            self.known_peers.with_label_values(&[&local, &format!("{:x}", member.id)]).set(1.0);
        }
        let is_learner = members.iter().any(|member| member.id == me && member.is_learner);
        self.is_learner.set(i64::from(is_learner));
    }
}
