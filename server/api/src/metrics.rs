//! The metrics of the API, under the names of etcd and of Go's gRPC middleware.

mod methods;
mod series;
mod versions;

use std::sync::Arc;

use prometheus::{Counter, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

use self::methods::Methods;
pub(crate) use self::methods::{CallTimes, MethodMetrics};
use self::series::{bytes, counter, counters, gauge, gauges, hash_durations};
pub(crate) use self::versions::{ClientRequests, NO_VERSION};
use crate::version::{CLUSTER_VERSION, ETCD_VERSION};

/// The metrics of watches.
#[derive(Clone)]
pub(crate) struct WatchMetrics {
    pub(crate) streams: IntGauge,
    pub(crate) watchers: IntGauge,
    pub(crate) events: IntCounter,
    /// Events in outboxes.
    pub(crate) pending: IntGauge,
    /// Unsynced watchers.
    pub(crate) slow: IntGauge,
}

impl WatchMetrics {
    pub(crate) fn new() -> Self {
        Self {
            streams: gauge("etcd_debugging_mvcc_watch_stream_total", "Open watch streams."),
            watchers: gauge("etcd_debugging_mvcc_watcher_total", "Watchers."),
            events: counter("etcd_debugging_mvcc_events_total", "Events sent to watchers."),
            pending: gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Events that wait to be sent to watchers.",
            ),
            slow: gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watchers that lag behind the last write.",
            ),
        }
    }
}

/// All metrics of the API.
pub struct Metrics {
    pub(crate) watch: WatchMetrics,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) health_success: IntCounter,
    pub(crate) health_failures: IntCounter,
    pub(crate) healthcheck: GaugeVec,
    pub(crate) healthchecks: IntCounterVec,
    pub(crate) client_requests: ClientRequests,
    pub(crate) hash: Histogram,
    pub(crate) hash_rev: Histogram,
    methods: Methods,
    /// Gauges that never change.
    constants: Vec<GaugeVec>,
}

impl Metrics {
    /// The metrics of the member with this id.
    pub(crate) fn new(member_id: u64, times: &CallTimes) -> Self {
        Self {
            watch: WatchMetrics::new(),
            received_bytes: bytes(
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes received from clients.",
            ),
            sent_bytes: bytes(
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes sent to clients.",
            ),
            health_success: counter("etcd_server_health_success", "Health checks that passed."),
            health_failures: counter("etcd_server_health_failures", "Health checks that failed."),
            healthcheck: gauges(
                "etcd_server_healthcheck",
                "The result of each health check.",
                &["type", "name"],
            ),
            healthchecks: counters(
                "etcd_server_healthchecks_total",
                "Health checks, by outcome.",
                &["type", "name", "status"],
            ),
            client_requests: ClientRequests::new(),
            hash: hash_durations(
                "etcd_mvcc_hash_duration_seconds",
                "Time to hash the whole store.",
            ),
            hash_rev: hash_durations(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Time to hash the keys at a revision.",
            ),
            methods: Methods::new(times),
            constants: constants(member_id),
        }
    }

    /// The counters of the method at a path.
    pub(crate) fn method(&self, path: &str) -> Option<&Arc<MethodMetrics>> {
        self.methods.get(path)
    }

    /// Adds the metrics to a registry.
    ///
    /// # Errors
    /// The registry has a metric of the same name.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.watch.streams.clone()))?;
        registry.register(Box::new(self.watch.watchers.clone()))?;
        registry.register(Box::new(self.watch.events.clone()))?;
        registry.register(Box::new(self.watch.pending.clone()))?;
        registry.register(Box::new(self.watch.slow.clone()))?;
        registry.register(Box::new(self.hash.clone()))?;
        registry.register(Box::new(self.hash_rev.clone()))?;
        registry.register(Box::new(self.received_bytes.clone()))?;
        registry.register(Box::new(self.sent_bytes.clone()))?;
        registry.register(Box::new(self.health_success.clone()))?;
        registry.register(Box::new(self.health_failures.clone()))?;
        registry.register(Box::new(self.healthcheck.clone()))?;
        registry.register(Box::new(self.healthchecks.clone()))?;
        registry.register(Box::new(self.client_requests.counters.clone()))?;
        for counters in &self.methods.counters {
            registry.register(Box::new(counters.clone()))?;
        }
        if let Some(durations) = &self.methods.durations {
            registry.register(Box::new(durations.clone()))?;
        }
        for gauges in &self.constants {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(())
    }
}

/// Gauges that are always 1 and carry information in their labels.
fn constants(member_id: u64) -> Vec<GaugeVec> {
    let id = format!("{member_id:x}");
    // As in etcd, `etcd_cluster_version` has no patch version.
    let cluster_version = CLUSTER_VERSION.rsplit_once('.').map_or("", |(minor, _)| minor);
    let facts = [
        ("etcd_server_version", "server_version", ETCD_VERSION),
        ("etcd_cluster_version", "cluster_version", cluster_version),
        ("etcd_server_id", "server_id", id.as_str()),
    ];
    let constants = facts.map(|(name, label, value)| {
        let gauge = gauges(name, "Always 1; the label has the value.", &[label]);
        gauge.with_label_values(&[value]).set(1.0);
        gauge
    });
    constants.into()
}
