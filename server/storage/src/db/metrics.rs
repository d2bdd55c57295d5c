//! Metrics of the database, under etcd's names.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry, exponential_buckets};

/// Durations of syncs, compactions and defragmentations.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds of a sync of the database's file.
    pub(super) commit: Histogram,
    /// Versions deleted by compactions.
    pub(super) compacted_keys: IntCounter,
    /// Milliseconds of one step of a compaction, which delays flushes.
    pub(super) compaction_pause: Histogram,
    /// Milliseconds from the first step of a compaction to its last.
    pub(super) compaction_total: Histogram,
    /// Unix time of the end of the last compaction.
    pub(super) compaction_last: IntGauge,
    /// Seconds of a defragmentation.
    pub(super) defrag: Histogram,
    /// 1 while a defragmentation runs, otherwise 0.
    pub(super) defragmenting: IntGauge,
    /// Number of open read transactions.
    pub(super) readers: IntGauge,
}

fn histogram(name: &str, help: &str, start: f64, count: usize) -> Histogram {
    let buckets = exponential_buckets(start, 2.0, count).expect("constants make buckets");
    let opts = HistogramOpts::new(name, help).buckets(buckets);
    Histogram::with_opts(opts).expect("constants make a histogram")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("constants make a gauge")
}

impl Default for Metrics {
    fn default() -> Self {
        let compacted = IntCounter::new(
            "etcd_debugging_mvcc_db_compaction_keys_total",
            "Versions that compactions deleted from the database.",
        );
        Self {
            commit: histogram(
                "etcd_disk_backend_commit_duration_seconds",
                "The time it took the disk to make a part of a flush durable.",
                0.001,
                14,
            ),
            compacted_keys: compacted.expect("constants make a counter"),
            compaction_pause: histogram(
                "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
                "The time it took to delete a part of compacted history.",
                1.0,
                13,
            ),
            compaction_total: histogram(
                "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
                "The time it took to delete compacted history.",
                100.0,
                14,
            ),
            compaction_last: gauge(
                "etcd_debugging_mvcc_db_compaction_last",
                "When compacted history was last deleted, in Unix time; 0 before the first time.",
            ),
            defrag: histogram(
                "etcd_disk_backend_defrag_duration_seconds",
                "The time it took to defragment the database.",
                0.1,
                13,
            ),
            defragmenting: gauge(
                "etcd_disk_defrag_inflight",
                "Whether the database is being defragmented.",
            ),
            readers: gauge(
                "etcd_mvcc_db_open_read_transactions",
                "Read transactions of the database that are open; readers share them.",
            ),
        }
    }
}

impl Metrics {
    /// Adds the metrics to a registry.
    ///
    /// # Errors
    /// The registry has a metric of the same name.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        for histogram in
            [&self.commit, &self.compaction_pause, &self.compaction_total, &self.defrag]
        {
            registry.register(Box::new(histogram.clone()))?;
        }
        for gauge in [&self.compaction_last, &self.defragmenting, &self.readers] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.compacted_keys.clone()))
    }
}
