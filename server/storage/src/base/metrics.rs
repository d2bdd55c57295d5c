//! What the database measures, under etcd's names.

use prometheus::{Histogram, HistogramOpts, IntCounter, Registry, exponential_buckets};

/// Durations of flushes and the volume of compactions.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds a flush took.
    pub(super) commit: Histogram,
    /// Versions deleted by compactions.
    pub(super) compacted_keys: IntCounter,
}

impl Default for Metrics {
    fn default() -> Self {
        let commit = HistogramOpts::new(
            "etcd_disk_backend_commit_duration_seconds",
            "The time it took to merge what was written since the last time into the database.",
        );
        let buckets = exponential_buckets(0.001, 2.0, 14).expect("constants make buckets");
        let commit = Histogram::with_opts(commit.buckets(buckets));
        let compacted = IntCounter::new(
            "etcd_debugging_mvcc_db_compaction_keys_total",
            "Versions that compactions deleted from the database.",
        );
        Self {
            commit: commit.expect("constants make a histogram"),
            compacted_keys: compacted.expect("constants make a counter"),
        }
    }
}

impl Metrics {
    /// Adds the metrics to a registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.commit.clone()))?;
        registry.register(Box::new(self.compacted_keys.clone()))
    }
}
