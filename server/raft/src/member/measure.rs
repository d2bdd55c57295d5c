//! Metrics of a member and its requests.

use bytes::Bytes;
use quorate_core::{Fault, KeyRange};
use tokio::time::Instant;

use super::Member;
use crate::budget::BudgetMetrics;
use crate::ground::consensus::Consensus;
use crate::ground::float::float;
use crate::ground::request::RequestError;
use crate::metrics::Metrics;
use crate::metrics::durations::{Durations, Read, Reading};

impl Member {
    /// Starts a measured range. Unless it is serializable, waits like
    /// [`linearize`](Self::linearize).
    ///
    /// # Errors
    /// As for [`linearize`](Self::linearize).
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn begin_range(&self, serializable: bool) -> Result<Reading<'_>, RequestError> {
        let started = Instant::now();
        let mut reading = self.metrics.durations.read(Read::Range, started);
        if serializable {
            reading.ready(started);
        } else {
            self.requests.linearize_since(started).await?;
            reading.ready(self.requests.barrier.passed());
        }
        Ok(reading)
    }

    /// Starts a measured transaction that contains only ranges.
    pub fn begin_read_txn(&self) -> Reading<'_> {
        self.metrics.durations.read(Read::Txn, Instant::now())
    }

    /// The histograms of request durations.
    pub fn durations(&self) -> &Durations {
        &self.metrics.durations
    }

    /// Updates the gauges and returns the metrics.
    pub fn metrics(&self) -> &Metrics {
        let sizes = self.sizes();
        let status = self.consensus.status_now();
        let me = Some(self.identity.member_id);
        let metrics = &self.metrics;
        metrics.has_leader.set(i64::from(status.leader.is_some()));
        metrics.is_leader.set(i64::from(status.leader == me));
        metrics.proposals_committed.set(float(self.consensus.committed()));
        metrics.proposals_applied.set(float(self.state.progress.applied()));
        metrics.proposals_pending.set(float(self.requests.admission.count() as u64));
        // Without a quota the gauge is infinite, so that no alerting rule finds the size close to
        // it.
        metrics.quota.set(match self.state.quota.limit() {
            0 => f64::INFINITY,
            limit => float(limit),
        });
        metrics.db_total_size.set(float(sizes.in_use));
        metrics.db_file_size.set(float(sizes.allocated));
        metrics.db_in_use.set(float(sizes.in_use));
        let flusher = &self.state.flusher;
        metrics.disk.set("db", flusher.engine().disk());
        metrics.disk.set("wal", flusher.wal().disk());
        metrics.current_revision.set(float(self.state.store.revision().unsigned_abs()));
        let compacted = u64::try_from(self.state.store.compacted()).ok().filter(|it| *it > 0);
        // As in etcd, the gauge is -1 before the first compaction.
        metrics.compact_revision.set(compacted.map_or(-1.0, float));
        let auth_revision = self.state.store.tables(|tables| tables.auth.revision());
        metrics.auth_revision.set(float(auth_revision));
        match self.count_keys() {
            Ok(keys) => metrics.keys.set(float(keys.unsigned_abs())),
            Err(fault) => self.fail(&fault),
        }
        metrics.cluster.members_are(self.identity.member_id, &self.members().members);
        metrics
    }

    fn count_keys(&self) -> Result<i64, Fault> {
        let first = Bytes::from_static(&[0]);
        let view = self.view();
        view.count(&KeyRange::from_wire(first.clone(), first), view.revision())
    }

    /// Registers the metrics of the member, its log and its database.
    ///
    /// # Errors
    /// A metric of the same name is registered already.
    pub fn register_metrics(&self, registry: &prometheus::Registry) -> prometheus::Result<()> {
        self.metrics.register(registry)?;
        registry.register(Box::new(BudgetMetrics::new(self.pool.budget().clone())))?;
        self.state.flusher.wal().metrics().register(registry)?;
        self.state.flusher.engine().metrics().register(registry)
    }
}
