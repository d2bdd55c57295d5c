//! Metrics of the traffic between members, under etcd's names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry,
    exponential_buckets,
};
use tokio::time::Instant;

/// Metrics of peer traffic, by member.
pub(crate) struct PeerMetrics {
    local: String,
    active: GaugeVec,
    disconnected: CounterVec,
    sent_bytes: CounterVec,
    received_bytes: CounterVec,
    sent_failures: CounterVec,
    round_trip: HistogramVec,
    sending: SnapshotMetrics,
    receiving: SnapshotMetrics,
}

/// Metrics of snapshot transfers in one direction.
struct SnapshotMetrics {
    /// Number of transfers in progress with all members.
    under_way: Arc<AtomicUsize>,
    inflights: GaugeVec,
    success: CounterVec,
    failures: CounterVec,
    seconds: HistogramVec,
}

fn counters(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    CounterVec::new(Opts::new(format!("etcd_network_{name}"), help), labels)
        .expect("constants make counters")
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(format!("etcd_network_{name}"), help), labels)
        .expect("constants make gauges")
}

fn histograms(name: &str, help: &str, label: &str, start: f64, count: usize) -> HistogramVec {
    let bounds = exponential_buckets(start, 2.0, count).expect("constants make bounds");
    let opts = HistogramOpts::new(format!("etcd_network_{name}"), help).buckets(bounds);
    HistogramVec::new(opts, &[label]).expect("constants make histograms")
}

impl SnapshotMetrics {
    fn new(way: &str, label: &str) -> Self {
        let name = |what: &str| format!("snapshot_{way}_{what}");
        let one = &[label];
        Self {
            under_way: Arc::default(),
            inflights: gauges(&name("inflights_total"), "Snapshots under way.", one),
            success: counters(&name("success"), "Snapshots that arrived.", one),
            failures: counters(&name("failures"), "Snapshots that did not arrive.", one),
            seconds: histograms(
                &name("total_duration_seconds"),
                "How long snapshots took.",
                label,
                0.1,
                10,
            ),
        }
    }

    fn begin(&self, member: u64) -> Transfer {
        let member = format!("{member:x}");
        let inflights = self.inflights.with_label_values(&[&member]);
        inflights.inc();
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Transfer {
            started: Instant::now(),
            under_way: self.under_way.clone(),
            inflights,
            success: self.success.with_label_values(&[&member]),
            failures: self.failures.with_label_values(&[&member]),
            seconds: self.seconds.with_label_values(&[&member]),
            arrived: false,
        }
    }

    fn collectors(&self) -> [Box<dyn Collector>; 4] {
        [
            Box::new(self.inflights.clone()),
            Box::new(self.success.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.seconds.clone()),
        ]
    }
}

/// A snapshot transfer in progress. Dropped before [`Transfer::arrived`], it counts as failed.
pub(crate) struct Transfer {
    started: Instant,
    under_way: Arc<AtomicUsize>,
    inflights: Gauge,
    success: Counter,
    failures: Counter,
    seconds: Histogram,
    arrived: bool,
}

impl Transfer {
    /// Counts the transfer as successful.
    pub(crate) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.inflights.dec();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.arrived {
            self.success.inc();
            self.seconds.observe(self.started.elapsed().as_secs_f64());
        } else {
            self.failures.inc();
        }
    }
}

impl PeerMetrics {
    /// The metrics of the member `member_id`.
    pub(crate) fn new(member_id: u64) -> Self {
        let ends = &["Local", "Remote"];
        let to = &["To"];
        let from = &["From"];
        Self {
            local: format!("{member_id:x}"),
            active: gauges("active_peers", "Members that this one is connected to.", ends),
            disconnected: counters("disconnected_peers_total", "Connections lost.", ends),
            sent_bytes: counters("peer_sent_bytes_total", "Bytes sent to members.", to),
            received_bytes: counters(
                "peer_received_bytes_total",
                "Bytes received from members.",
                from,
            ),
            sent_failures: counters("peer_sent_failures_total", "Calls that failed.", to),
            round_trip: histograms(
                "peer_round_trip_time_seconds",
                "Time from a message to its reply.",
                "To",
                0.0001,
                16,
            ),
            sending: SnapshotMetrics::new("send", "To"),
            receiving: SnapshotMetrics::new("receive", "From"),
        }
    }

    /// Registers the metrics.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.active.clone()))?;
        registry.register(Box::new(self.disconnected.clone()))?;
        registry.register(Box::new(self.sent_bytes.clone()))?;
        registry.register(Box::new(self.received_bytes.clone()))?;
        registry.register(Box::new(self.sent_failures.clone()))?;
        registry.register(Box::new(self.round_trip.clone()))?;
        for collector in self.sending.collectors().into_iter().chain(self.receiving.collectors()) {
            registry.register(collector)?;
        }
        Ok(())
    }

    /// The metrics of the connections to one member; their labels are looked up only once.
    pub(crate) fn connections(&self, member: u64) -> Arc<ConnectionMetrics> {
        let remote = format!("{member:x}");
        let ends = [self.local.as_str(), remote.as_str()];
        Arc::new(ConnectionMetrics {
            open: AtomicUsize::new(0),
            active: self.active.with_label_values(&ends),
            disconnected: self.disconnected.with_label_values(&ends),
            sent_bytes: self.sent_bytes.with_label_values(&[&remote]),
            received_bytes: self.received_bytes.with_label_values(&[&remote]),
            sent_failures: self.sent_failures.with_label_values(&[&remote]),
            round_trip: self.round_trip.with_label_values(&[&remote]),
        })
    }

    /// Counter of the bytes that a member sent on connections it opened.
    pub(crate) fn received(&self, member: u64) -> Counter {
        self.received_bytes.with_label_values(&[&format!("{member:x}")])
    }

    /// Starts measuring a snapshot being sent.
    pub(crate) fn begin_sending(&self, to: u64) -> Transfer {
        self.sending.begin(to)
    }

    /// Whether a snapshot is being sent to any member.
    pub(crate) fn is_sending(&self) -> bool {
        self.sending.under_way.load(Ordering::Relaxed) > 0
    }

    /// Starts measuring a snapshot being received.
    pub(crate) fn begin_receiving(&self, from: u64) -> Transfer {
        self.receiving.begin(from)
    }
}

/// Metrics of the connections to one member.
pub(crate) struct ConnectionMetrics {
    /// Number of open connections.
    open: AtomicUsize,
    active: Gauge,
    disconnected: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) sent_failures: Counter,
    pub(crate) round_trip: Histogram,
}

impl ConnectionMetrics {
    /// Counts a new connection.
    pub(crate) fn opened(&self) {
        if self.open.fetch_add(1, Ordering::Relaxed) == 0 {
            self.active.set(1.0);
        }
    }

    /// Counts the end of a connection.
    pub(crate) fn closed(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.active.set(0.0);
            self.disconnected.inc();
        }
    }
}
