//! What the member measures, under etcd's names.

use prometheus::{Gauge, GaugeVec, IntCounter, IntGauge, Opts, Registry};
use quorate_core::store::Shared;
use quorate_proto::etcdserverpb::AlarmType;

/// Counters and gauges of consensus and of the state.
#[derive(Clone, Debug)]
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
    pub(crate) current_revision: Gauge,
    pub(crate) compact_revision: Gauge,
    pub(crate) keys: Gauge,
    pub(crate) lease_granted: IntCounter,
    pub(crate) lease_revoked: IntCounter,
    pub(crate) lease_renewed: IntCounter,
    pub(crate) lease_expired: IntCounter,
    alarms: GaugeVec,
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

impl Metrics {
    pub(crate) fn new() -> Self {
        let alarms =
            Opts::new("etcd_debugging_server_alarms", "Raised alarms, by member and type.");
        let alarms = GaugeVec::new(alarms, &["server_id", "alarm_type"]);
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
            db_total_size: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes that the database takes on disk.",
            ),
            db_in_use: gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes of the rows in the database.",
            ),
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
            alarms: alarms.expect("constants make gauges"),
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
            &self.current_revision,
            &self.compact_revision,
            &self.keys,
        ];
        for gauge in gauges {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.alarms.clone()))
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
