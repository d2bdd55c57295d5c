//! Counters of operations on keys.

use std::fmt::Debug;

use prometheus::{IntCounter, IntGauge, Registry};
use quorate_core::Tally;

use super::make::{counter, int_gauge};

/// Counters of operations on keys, by commands and by reads.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    ranges: IntCounter,
    puts: IntCounter,
    put_bytes: IntGauge,
    deletes: IntCounter,
    txns: IntCounter,
}

impl Operations {
    pub(super) fn new() -> Self {
        Self {
            ranges: counter("etcd_mvcc_range_total", "Ranges read."),
            puts: counter("etcd_mvcc_put_total", "Keys written."),
            put_bytes: int_gauge(
                "etcd_debugging_mvcc_total_put_size_in_bytes",
                "Bytes of keys and values written.",
            ),
            deletes: counter("etcd_mvcc_delete_total", "Ranges deleted."),
            txns: counter("etcd_mvcc_txn_total", "Transactions of more than one operation."),
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.put_bytes.clone()))?;
        for counter in [&self.ranges, &self.puts, &self.deletes, &self.txns] {
            registry.register(Box::new(counter.clone()))?;
        }
        Ok(())
    }

    pub(super) fn range(&self) {
        self.ranges.inc();
    }

    /// Adds a tally.
    pub(crate) fn add(&self, tally: &Tally) {
        let counters = [
            (&self.ranges, tally.ranges),
            (&self.puts, tally.puts),
            (&self.deletes, tally.deletes),
            (&self.txns, tally.txns),
        ];
        for (counter, count) in counters {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        if tally.put_bytes > 0 {
            self.put_bytes.add(i64::try_from(tally.put_bytes).unwrap_or(i64::MAX));
        }
    }
}
