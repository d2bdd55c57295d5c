//! Metrics of the file systems that the data are on.

use std::io;

use prometheus::{GaugeVec, Opts, Registry};
use quorate_storage::space::Disk;

use crate::ground::float::float;

/// The size of the file system of each directory.
pub(crate) struct DiskMetrics {
    free: GaugeVec,
    total: GaugeVec,
}

fn gauges(name: &str, help: &str) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), &["directory"]).expect("constants make gauges")
}

impl DiskMetrics {
    pub(super) fn new() -> Self {
        Self {
            free: gauges(
                "quorate_disk_free_bytes",
                "Bytes that are free in the file system of a directory of the data.",
            ),
            total: gauges(
                "quorate_disk_total_bytes",
                "Bytes of the file system of a directory of the data.",
            ),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.free.clone()))?;
        registry.register(Box::new(self.total.clone()))
    }

    /// Sets the size for a directory. A file system that does not report its size has no series.
    pub(crate) fn set(&self, directory: &str, disk: io::Result<Disk>) {
        let Ok(disk) = disk else { return };
        self.free.with_label_values(&[directory]).set(float(disk.free));
        self.total.with_label_values(&[directory]).set(float(disk.total));
    }
}
