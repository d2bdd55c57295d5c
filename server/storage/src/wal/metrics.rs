//! Metrics of the log, under etcd's names.

use prometheus::{Gauge, Histogram, HistogramOpts, Registry, exponential_buckets};

/// Durations and volumes of the log's writes.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Seconds until a group is durable.
    pub(super) fsync: Histogram,
    /// Seconds of a group's write, without the sync after it.
    pub(super) write: Histogram,
    /// Bytes written.
    pub(super) written_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = exponential_buckets(0.001, 2.0, 14).expect("constants make buckets");
        let fsync = HistogramOpts::new(
            "etcd_disk_wal_fsync_duration_seconds",
            "The time it took to make a group of log records durable.",
        );
        let fsync = fsync.buckets(buckets.clone());
        let write = HistogramOpts::new(
            "etcd_disk_wal_write_duration_seconds",
            "The time it took to write a group of log records; with direct IO it is durable then.",
        );
        let write = write.buckets(buckets);
        let written = "Bytes written to the log.";
        Self {
            fsync: Histogram::with_opts(fsync).expect("constants make a histogram"),
            write: Histogram::with_opts(write).expect("constants make a histogram"),
            written_bytes: Gauge::new("etcd_disk_wal_write_bytes_total", written)
                .expect("constants make a gauge"),
        }
    }
}

impl Metrics {
    /// Adds the metrics to a registry.
    ///
    /// # Errors
    /// The registry has a metric of the same name.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.fsync.clone()))?;
        registry.register(Box::new(self.write.clone()))?;
        registry.register(Box::new(self.written_bytes.clone()))
    }
}
