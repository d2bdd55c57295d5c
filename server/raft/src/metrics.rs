//! The member's metrics, under etcd's names.

pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod durations;
pub(crate) mod features;
pub(crate) mod make;
pub(crate) mod mark;
pub(crate) mod operations;
pub(crate) mod peers;
pub(crate) mod receipt;

use std::time::Duration;

use cluster::ClusterMetrics;
use disk::DiskMetrics;
use durations::Durations;
use make::{counter, gauge, int_gauge};
use operations::Operations;
use peers::PeerMetrics;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry,
    exponential_buckets,
};
use quorate_core::store::Shared;
use quorate_proto::etcdserverpb::AlarmType;
use receipt::ReceiptMetrics;

use crate::ground::checks::IntegrityChecks;

/// Metrics of consensus and of the state.
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
    pub(crate) auth_revision: Gauge,
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
    pub(crate) receipt: ReceiptMetrics,
    pub(crate) disk: DiskMetrics,
    alarms: GaugeVec,
    features: IntGaugeVec,
}

/// Gauges of the size that the quota counts, the size in use, and the size of the file.
fn sizes() -> [Gauge; 3] {
    [
        gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes of data, as the space quota counts them."),
        gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the rows in the database."),
        gauge(
            "quorate_db_file_size_in_bytes",
            "Bytes that the database takes on disk; free space in it is reused.",
        ),
    ]
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
    pub(crate) fn new(member_id: u64, checks: &IntegrityChecks, slow_apply: Duration) -> Self {
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
            auth_revision: gauge("etcd_debugging_auth_revision", "Revision of users and roles."),
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
            durations: Durations::new(operations.clone(), slow_apply),
            operations,
            cluster: ClusterMetrics::new(),
            peers: PeerMetrics::new(member_id),
            receipt: ReceiptMetrics::new(),
            disk: DiskMetrics::new(),
            alarms: alarms(),
            features: features::enabled(checks),
        }
    }

    /// Registers the metrics.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
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
            &self.auth_revision,
        ];
        for gauge in gauges {
            registry.register(Box::new(gauge.clone()))?;
        }
        self.operations.register(registry)?;
        self.durations.register(registry)?;
        self.cluster.register(registry)?;
        self.peers.register(registry)?;
        self.receipt.register(registry)?;
        self.disk.register(registry)?;
        registry.register(Box::new(self.lease_ttl.clone()))?;
        registry.register(Box::new(self.features.clone()))?;
        registry.register(Box::new(self.alarms.clone()))
    }

    /// Counts a granted lease with its TTL in seconds.
    #[expect(clippy::cast_precision_loss, reason = "TTLs are below 2^53")]
    pub(crate) fn lease_granted(&self, ttl: i64) {
        self.lease_granted.inc();
        self.lease_ttl.observe(ttl as f64);
    }

    /// Counts a heartbeat that was sent late.
    pub(crate) fn heartbeat_late(&self) {
        self.cluster.heartbeat_send_failures.inc();
    }

    /// Sets the gauges to the alarms that are raised.
    pub(crate) fn alarms_changed(&self, store: &Shared) {
        let raised = store.tables(|tables| tables.alarms.clone());
        self.alarms.reset();
        for (alarm, member) in raised {
            let kind = AlarmType::try_from(alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
            self.alarms.with_label_values(&[&format!("{member:x}"), kind]).set(1.0);
        }
    }
}
