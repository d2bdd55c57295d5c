//! What the member measures, under etcd's names.

mod durations;
mod features;
mod operations;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, exponential_buckets,
};
use quorate_core::store::Shared;
use quorate_proto::etcdserverpb::AlarmType;

pub(crate) use self::durations::{Batch, Mark};
pub use self::durations::{Durations, Read, Reading};
pub(crate) use self::operations::Operations;
use crate::integrity::IntegrityChecks;
use crate::member::MemberInfo;
use crate::network::metrics::PeerMetrics;

/// Counters and gauges of consensus and of the state.
pub struct Metrics {
    pub(crate) has_leader: IntGauge,
    pub(crate) is_leader: IntGauge,
    pub(crate) leader_changes: IntCounter,
    pub(crate) proposals_committed: Gauge,
    pub(crate) proposals_applied: Gauge,
    pub(crate) proposals_pending: Gauge,
    pub(crate) proposals_failed: IntCounter,
    pub(crate) read_indexes_failed: IntCounter,
    pub(crate) quota: Gauge,
    pub(crate) db_total_size: Gauge,
    pub(crate) db_in_use: Gauge,
    pub(crate) db_file_size: Gauge,
    pub(crate) current_revision: Gauge,
    pub(crate) compact_revision: Gauge,
    pub(crate) keys: Gauge,
    pub(crate) lease_granted: IntCounter,
    pub(crate) lease_revoked: IntCounter,
    pub(crate) lease_renewed: IntCounter,
    pub(crate) lease_expired: IntCounter,
    pub(crate) lease_ttl: Histogram,
    pub(crate) slow_read_indexes: IntCounter,
    pub(crate) operations: Operations,
    pub(crate) durations: Durations,
    pub(crate) cluster: ClusterMetrics,
    pub(crate) peers: PeerMetrics,
    alarms: GaugeVec,
    features: IntGaugeVec,
}

/// What is about the other members.
#[derive(Debug)]
pub(crate) struct ClusterMetrics {
    is_learner: IntGauge,
    known_peers: GaugeVec,
    heartbeat_send_failures: IntCounter,
    learner_promote_successes: IntCounter,
    learner_promote_failures: IntCounterVec,
    snapshot_apply_in_progress: IntGauge,
    /// How long snapshots took to be sent.
    pub(crate) snapshot_durations: Histogram,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("constants make a counter")
}

fn gauge(name: &str, help: &str) -> Gauge {
    Gauge::new(name, help).expect("constants make a gauge")
}

fn int_gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("constants make a gauge")
}

/// What the quota counts, what is in use, and what the file takes.
fn sizes() -> [Gauge; 3] {
    [
        gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of data, as the space quota counts them."),
        gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the rows in the database."),
        gauge(
            "quorate_db_file_size_in_bytes",
            "Bytes that the database takes on disk; what is free in it is used again.",
        ),
    ]
}

fn snapshot_durations() -> Histogram {
    let name = "etcd_disk_backend_snapshot_duration_seconds";
    let opts = HistogramOpts::new(name, "Time to send a snapshot to another member.");
    let buckets = prometheus::exponential_buckets(0.01, 2.0, 17).expect("constants make buckets");
    Histogram::with_opts(opts.buckets(buckets)).expect("constants make a histogram")
}

fn lease_ttls() -> Histogram {
    let opts = HistogramOpts::new("etcd_debugging_lease_ttl_total", "TTLs of leases granted.");
    let buckets = exponential_buckets(1.0, 2.0, 24).expect("constants make buckets");
    Histogram::with_opts(opts.buckets(buckets)).expect("constants make a histogram")
}

fn alarms() -> GaugeVec {
    let opts = Opts::new("etcd_debugging_server_alarms", "Raised alarms, by member and type.");
    GaugeVec::new(opts, &["server_id", "alarm_type"]).expect("constants make gauges")
}

impl Metrics {
    pub(crate) fn new(member_id: u64, checks: &IntegrityChecks) -> Self {
        let operations = Operations::new();
        let [db_total_size, db_in_use, db_file_size] = sizes();
        Self {
            has_leader: int_gauge("etcd_server_has_leader", "Whether a leader is known."),
            is_leader: int_gauge("etcd_server_is_leader", "Whether this member leads."),
            leader_changes: counter(
                "etcd_server_leader_changes_seen_total",
                "How often this member saw another leader.",
            ),
            proposals_committed: gauge(
                "etcd_server_proposals_committed_total",
                "Index of the last committed log entry.",
            ),
            proposals_applied: gauge(
                "etcd_server_proposals_applied_total",
                "Index of the last applied log entry.",
            ),
            proposals_pending: gauge(
                "etcd_server_proposals_pending",
                "Proposals that were made and are not applied yet.",
            ),
            proposals_failed: counter(
                "etcd_server_proposals_failed_total",
                "Proposals that ended without an answer.",
            ),
            read_indexes_failed: counter(
                "etcd_server_read_indexes_failed_total",
                "Linearizable reads for which leadership could not be confirmed.",
            ),
            quota: gauge("etcd_server_quota_backend_bytes", "The space quota in bytes."),
            db_total_size,
            db_in_use,
            db_file_size,
            current_revision: gauge(
                "etcd_debugging_mvcc_current_revision",
                "Revision of the last write.",
            ),
            compact_revision: gauge(
                "etcd_debugging_mvcc_compact_revision",
                "Revision of the last compaction.",
            ),
            keys: gauge("etcd_debugging_mvcc_keys_total", "Keys that exist."),
            lease_granted: counter("etcd_debugging_lease_granted_total", "Leases granted."),
            lease_revoked: counter("etcd_debugging_lease_revoked_total", "Leases ended."),
            lease_renewed: counter(
                "etcd_debugging_lease_renewed_total",
                "Keep-alives that this member answered as the leader.",
            ),
            lease_expired: counter(
                "etcd_debugging_server_lease_expired_total",
                "Leases whose time was over.",
            ),
            lease_ttl: lease_ttls(),
            slow_read_indexes: counter(
                "etcd_server_slow_read_indexes_total",
                "Linearizable reads for which leadership was not confirmed in time.",
            ),
            durations: Durations::new(operations.clone()),
            operations,
            cluster: ClusterMetrics::new(),
            peers: PeerMetrics::new(member_id),
            alarms: alarms(),
            features: features::enabled(checks),
        }
    }

    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.has_leader.clone()))?;
        registry.register(Box::new(self.is_leader.clone()))?;
        let counters = [
            &self.leader_changes,
            &self.proposals_failed,
            &self.read_indexes_failed,
            &self.lease_granted,
            &self.lease_revoked,
            &self.lease_renewed,
            &self.lease_expired,
            &self.slow_read_indexes,
        ];
        for counter in counters {
            registry.register(Box::new(counter.clone()))?;
        }
        let gauges = [
            &self.proposals_committed,
            &self.proposals_applied,
            &self.proposals_pending,
            &self.quota,
            &self.db_total_size,
            &self.db_in_use,
            &self.db_file_size,
            &self.current_revision,
            &self.compact_revision,
            &self.keys,
        ];
        for gauge in gauges {
            registry.register(Box::new(gauge.clone()))?;
        }
        self.operations.register(registry)?;
        self.durations.register(registry)?;
        self.cluster.register(registry)?;
        self.peers.register(registry)?;
        registry.register(Box::new(self.lease_ttl.clone()))?;
        registry.register(Box::new(self.features.clone()))?;
        registry.register(Box::new(self.alarms.clone()))
    }

    /// A lease was granted, for so many seconds.
    #[expect(clippy::cast_precision_loss, reason = "TTLs are below 2^53")]
    pub(crate) fn lease_granted(&self, ttl: i64) {
        self.lease_granted.inc();
        self.lease_ttl.observe(ttl as f64);
    }

    /// A heartbeat was sent late.
    pub(crate) fn heartbeat_late(&self) {
        self.cluster.heartbeat_send_failures.inc();
    }

    /// Shows which alarms are raised.
    pub(crate) fn alarms_changed(&self, store: &Shared) {
        let raised = store.tables(|tables| tables.alarms.clone());
        self.alarms.reset();
        for (alarm, member) in raised {
            let kind = AlarmType::try_from(alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
            self.alarms.with_label_values(&[&format!("{member:x}"), kind]).set(1.0);
        }
    }
}

impl ClusterMetrics {
    fn new() -> Self {
        let peers = Opts::new("etcd_network_known_peers", "Members of the cluster, each 1.");
        let failures = Opts::new("etcd_server_learner_promote_failures", "Promotions refused.");
        Self {
            is_learner: int_gauge("etcd_server_is_learner", "Whether this member has no vote."),
            known_peers: GaugeVec::new(peers, &["Local", "Remote"]).expect("constants make gauges"),
            heartbeat_send_failures: counter(
                "etcd_server_heartbeat_send_failures_total",
                "Heartbeats of this member as the leader that were late.",
            ),
            learner_promote_successes: counter(
                "etcd_server_learner_promote_successes",
                "Learners that this member as the leader promoted.",
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

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.is_learner.clone()))?;
        registry.register(Box::new(self.known_peers.clone()))?;
        registry.register(Box::new(self.heartbeat_send_failures.clone()))?;
        registry.register(Box::new(self.learner_promote_successes.clone()))?;
        registry.register(Box::new(self.learner_promote_failures.clone()))?;
        registry.register(Box::new(self.snapshot_apply_in_progress.clone()))?;
        registry.register(Box::new(self.snapshot_durations.clone()))
    }

    /// A snapshot of another member begins, or ends, to be taken into use.
    pub(crate) fn installing(&self, begins: bool) {
        self.snapshot_apply_in_progress.set(i64::from(begins));
    }

    /// This member, as the leader, was asked to promote a learner.
    pub(crate) fn promoted(&self, refusal: Option<&str>) {
        match refusal {
            None => self.learner_promote_successes.inc(),
            Some(reason) => self.learner_promote_failures.with_label_values(&[reason]).inc(),
        }
    }

    /// Shows who is in the cluster.
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
