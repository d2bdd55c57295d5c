//! Metrics of a snapshot that is being received.

use prometheus::{GaugeVec, Opts, Registry};

use crate::ground::float::float;

/// The progress of receiving a snapshot. A series exists only while the transfer is under way.
#[derive(Clone)]
pub(crate) struct ReceiptMetrics {
    received: GaugeVec,
    expected: GaugeVec,
}

fn gauges(name: &str, help: &str) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), &["From"]).expect("constants make gauges")
}

impl ReceiptMetrics {
    pub(super) fn new() -> Self {
        Self {
            received: gauges(
                "quorate_snapshot_received_bytes",
                "Bytes received of the snapshot that is being received.",
            ),
            expected: gauges(
                "quorate_snapshot_expected_bytes",
                "About how many bytes the snapshot that is being received has.",
            ),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.received.clone()))?;
        registry.register(Box::new(self.expected.clone()))
    }

    /// Starts showing a snapshot of about `expected` bytes from this member; 0 means unknown.
    pub(crate) fn begin(&self, from: u64, expected: u64) -> Receipt {
        let from = format!("{from:x}");
        if expected > 0 {
            self.expected.with_label_values(&[&from]).set(float(expected));
        }
        Receipt { metrics: self.clone(), from }
    }
}

/// A snapshot that is being received. Dropping it ends its series.
pub(crate) struct Receipt {
    metrics: ReceiptMetrics,
    from: String,
}

impl Receipt {
    /// Sets the bytes received so far.
    pub(crate) fn received(&self, bytes: u64) {
        self.metrics.received.with_label_values(&[&self.from]).set(float(bytes));
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        for gauges in [&self.metrics.received, &self.metrics.expected] {
            // An error means that there was no series.
            gauges.remove_label_values(&[&self.from]).ok();
        }
    }
}
