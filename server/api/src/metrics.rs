//! The metrics of the API, under the names of etcd and of Go's gRPC middleware.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{
    Counter, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, exponential_buckets,
};
use tonic::Code;

use crate::version::{CLUSTER_VERSION, ETCD_VERSION};

/// The label of requests whose client names no API version.
pub(crate) const NO_VERSION: &str = "unknown";
/// The label of requests whose API version has no series of its own.
const OTHER_VERSIONS: &str = "other";
/// Most API versions with a series of their own.
const VERSIONS_MAX: usize = 32;
/// Longest API version with a series of its own, in bytes.
const VERSION_LENGTH_MAX: usize = 32;

/// The type of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodType {
    /// One message each way.
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many messages each way.
    BidiStream,
}

impl MethodType {
    fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// All methods.
const METHODS: &[(&str, &str, MethodType)] = &[
    ("etcdserverpb.KV", "Range", MethodType::Unary),
    ("etcdserverpb.KV", "RangeStream", MethodType::ServerStream),
    ("etcdserverpb.KV", "Put", MethodType::Unary),
    ("etcdserverpb.KV", "DeleteRange", MethodType::Unary),
    ("etcdserverpb.KV", "Txn", MethodType::Unary),
    ("etcdserverpb.KV", "Compact", MethodType::Unary),
    ("etcdserverpb.Watch", "Watch", MethodType::BidiStream),
    ("etcdserverpb.Lease", "LeaseGrant", MethodType::Unary),
    ("etcdserverpb.Lease", "LeaseRevoke", MethodType::Unary),
    ("etcdserverpb.Lease", "LeaseKeepAlive", MethodType::BidiStream),
    ("etcdserverpb.Lease", "LeaseTimeToLive", MethodType::Unary),
    ("etcdserverpb.Lease", "LeaseLeases", MethodType::Unary),
    ("etcdserverpb.Cluster", "MemberAdd", MethodType::Unary),
    ("etcdserverpb.Cluster", "MemberRemove", MethodType::Unary),
    ("etcdserverpb.Cluster", "MemberUpdate", MethodType::Unary),
    ("etcdserverpb.Cluster", "MemberList", MethodType::Unary),
    ("etcdserverpb.Cluster", "MemberPromote", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Alarm", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Status", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Defragment", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Hash", MethodType::Unary),
    ("etcdserverpb.Maintenance", "HashKV", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Snapshot", MethodType::ServerStream),
    ("etcdserverpb.Maintenance", "MoveLeader", MethodType::Unary),
    ("etcdserverpb.Maintenance", "Downgrade", MethodType::Unary),
    ("grpc.health.v1.Health", "Check", MethodType::Unary),
    ("grpc.health.v1.Health", "List", MethodType::Unary),
    ("grpc.health.v1.Health", "Watch", MethodType::ServerStream),
];

/// The middleware's names of the codes, indexed by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The counters of one method, looked up once because a lookup per call is slow.
pub(crate) struct MethodMetrics {
    /// The type of the method.
    pub(crate) kind: MethodType,
    pub(crate) started: IntCounter,
    pub(crate) received: IntCounter,
    pub(crate) sent: IntCounter,
    handled: Vec<IntCounter>,
}

impl MethodMetrics {
    /// Counts a call that ended.
    pub(crate) fn handled(&self, code: Code) {
        let number = usize::try_from(code as i32).unwrap_or(2);
        self.handled[number.min(CODES.len() - 1)].inc();
    }
}

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
    methods: HashMap<String, Arc<MethodMetrics>>,
    collectors: Collectors,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("constants make a counter")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constants make counters")
}

fn hash_durations(name: &str, help: &str) -> Histogram {
    let buckets = exponential_buckets(0.01, 2.0, 15).expect("constants make buckets");
    let opts = HistogramOpts::new(name, help).buckets(buckets);
    Histogram::with_opts(opts).expect("constants make a histogram")
}

impl Metrics {
    /// The metrics of the member with this id.
    pub(crate) fn new(member_id: u64) -> Self {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = counters("grpc_server_started_total", "Started calls.", &labels);
        let received =
            counters("grpc_server_msg_received_total", "Messages received from clients.", &labels);
        let sent = counters("grpc_server_msg_sent_total", "Messages sent to clients.", &labels);
        let handled = counters(
            "grpc_server_handled_total",
            "Ended calls, by code.",
            &["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
        );
        let mut methods = HashMap::new();
        for (service, method, kind) in METHODS {
            let labels = [kind.name(), service, method];
            let handled = CODES
                .iter()
                .map(|code| handled.with_label_values(&[kind.name(), service, method, code]));
            let metrics = MethodMetrics {
                kind: *kind,
                started: started.with_label_values(&labels),
                received: received.with_label_values(&labels),
                sent: sent.with_label_values(&labels),
                handled: handled.collect(),
            };
            methods.insert(format!("/{service}/{method}"), Arc::new(metrics));
        }
        let mut metrics = Self::without_methods();
        metrics.methods = methods;
        metrics.collectors = Collectors {
            counters: vec![started, received, sent, handled],
            gauges: constants(member_id),
        };
        metrics
    }

    fn without_methods() -> Self {
        let gauge =
            |name: &str, help: &str| IntGauge::new(name, help).expect("constants make a gauge");
        let bytes =
            |name: &str, help: &str| Counter::new(name, help).expect("constants make a counter");
        let checks = Opts::new("etcd_server_healthcheck", "The result of each health check.");
        Self {
            watch: WatchMetrics {
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
            },
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
            healthcheck: GaugeVec::new(checks, &["type", "name"]).expect("constants make gauges"),
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
            methods: HashMap::new(),
            collectors: Collectors::default(),
        }
    }

    /// The counters of the method at a path.
    pub(crate) fn method(&self, path: &str) -> Option<&Arc<MethodMetrics>> {
        self.methods.get(path)
    }

    /// Adds the metrics to a registry.
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
        for counters in &self.collectors.counters {
            registry.register(Box::new(counters.clone()))?;
        }
        for gauges in &self.collectors.gauges {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(())
    }
}

/// Counts requests by the API version of their clients.
pub(crate) struct ClientRequests {
    counters: IntCounterVec,
    /// The versions with a series of their own.
    versions: RwLock<BTreeSet<String>>,
}

impl ClientRequests {
    fn new() -> Self {
        let counters = counters(
            "etcd_server_client_requests_total",
            "Requests, by the client's API version.",
            &["type", "client_api_version"],
        );
        Self { counters, versions: RwLock::default() }
    }

    /// Counts a request. Clients can send any text as their version, and a series is never removed.
    /// So only the first [`VERSIONS_MAX`] texts that look like versions get a series of their own;
    /// all others share one.
    pub(crate) fn count(&self, kind: &str, version: &str) {
        let shown = if self.has_series(version) { version } else { OTHER_VERSIONS };
        self.counters.with_label_values(&[kind, shown]).inc();
    }

    fn has_series(&self, version: &str) -> bool {
        if self.versions.read().contains(version) {
            return true;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        let is_version = version.starts_with(|c: char| c.is_ascii_digit())
            && version.len() <= VERSION_LENGTH_MAX
            && version.chars().all(is_part);
        if !is_version {
            return version == NO_VERSION;
        }
        let mut versions = self.versions.write();
        let has_room = versions.len() < VERSIONS_MAX || versions.contains(version);
        if has_room {
            versions.insert(version.to_owned());
        }
        has_room
    }
}

/// Metrics that are kept only for registration: counters that are updated through other handles,
/// and gauges that never change.
#[derive(Default)]
struct Collectors {
    counters: Vec<IntCounterVec>,
    gauges: Vec<GaugeVec>,
}

/// Gauges that are always 1 and carry information in their labels.
fn constants(member_id: u64) -> Vec<GaugeVec> {
    let id = format!("{member_id:x}");
    // As in etcd, this metric has no patch version.
    let cluster_version = CLUSTER_VERSION.rsplit_once('.').map_or("", |(minor, _)| minor);
    let facts = [
        ("etcd_server_version", "server_version", ETCD_VERSION),
        ("etcd_cluster_version", "cluster_version", cluster_version),
        ("etcd_server_id", "server_id", id.as_str()),
    ];
    let gauges = facts.map(|(name, label, value)| {
        let opts = Opts::new(name, "Always 1; the label has the value.");
        let gauge = GaugeVec::new(opts, &[label]).expect("constants make gauges");
        gauge.with_label_values(&[value]).set(1.0);
        gauge
    });
    gauges.into()
}
