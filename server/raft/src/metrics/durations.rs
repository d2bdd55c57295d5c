//! Durations of requests and of applying them.
//!
//! One reading of the clock serves many requests: a batch of entries is timed as a whole and its
//! time split equally, and a proposal counts as answered at the time its batch was applied.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, Registry, exponential_buckets,
};
use quorate_core::{CommandKind, Refusal, Tally};
use tokio::time::Instant;

use super::mark::Mark;
use super::operations::Operations;
use crate::ground::rate_limit::RateLimit;

/// Shortest time between two log lines about slow batches and reads.
const SLOW_PAUSE: Duration = Duration::from_secs(1);
/// Kinds of requests: those of commands, and two that only read.
const REQUESTS: usize = CommandKind::ALL.len() + 2;

/// A request that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A range.
    Range,
    /// A transaction with only ranges.
    Txn,
}

/// A histogram for each kind and outcome. Its labels are looked up once, and it appears in the
/// metrics with its first observation.
#[derive(Debug)]
struct Series<const N: usize> {
    family: HistogramVec,
    made: [[OnceLock<Histogram>; 2]; N],
}

impl<const N: usize> Series<N> {
    fn new(name: &str, help: &str, start: f64, count: usize, labels: &[&str]) -> Self {
        let buckets = exponential_buckets(start, 2.0, count).expect("constants make buckets");
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        let family = HistogramVec::new(opts, labels).expect("constants make histograms");
        Self { family, made: std::array::from_fn(|_| [const { OnceLock::new() }; 2]) }
    }

    /// The histogram of a kind and an outcome; `labels` are the labels before the outcome.
    fn get(&self, kind: usize, labels: &[&str], success: bool) -> &Histogram {
        self.made[kind][usize::from(success)].get_or_init(|| {
            let outcome = if success { "true" } else { "false" };
            self.family.with_label_values(&[labels, &[outcome]].concat())
        })
    }
}

fn index(kind: CommandKind) -> usize {
    kind as usize - 1
}

/// Numbers of failed and successful commands in a batch, by kind.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    counts: [[u32; 2]; CommandKind::ALL.len()],
}

impl Batch {
    /// Counts a command. As in etcd, one refused because of a compaction counts as successful.
    pub(crate) fn note<R>(&mut self, kind: CommandKind, reply: &Result<R, Refusal>) {
        let success = matches!(reply, Ok(_) | Err(Refusal::Compacted));
        self.counts[index(kind)][usize::from(success)] += 1;
    }
}

/// Histograms of durations.
#[derive(Debug)]
pub struct Durations {
    requests: Series<REQUESTS>,
    applies: Series<{ CommandKind::ALL.len() }>,
    ranges: Series<1>,
    slow: IntCounter,
    /// A batch or read that takes longer is slow.
    slow_after: Duration,
    slow_lines: RateLimit,
    /// When the last batch was applied.
    applied: Mark,
    operations: Operations,
}

impl Durations {
    pub(super) fn new(operations: Operations, slow_after: Duration) -> Self {
        let slow = "Batches of applied requests, and reads, that took longer than the flag \
                    --warning-apply-duration says.";
        Self {
            requests: Series::new(
                "etcd_server_request_duration_seconds",
                "The time it took to answer a request.",
                0.001,
                14,
                &["type", "success"],
            ),
            applies: Series::new(
                "etcd_server_apply_duration_seconds",
                "The time it took to apply a request: its share of the batch's time.",
                0.0001,
                20,
                &["version", "op", "success"],
            ),
            ranges: Series::new(
                "etcd_server_range_duration_seconds",
                "The time it took to read a range.",
                0.0001,
                20,
                &["success"],
            ),
            slow: IntCounter::new("etcd_server_slow_apply_total", slow)
                .expect("constants make a counter"),
            slow_after,
            slow_lines: RateLimit::new(SLOW_PAUSE),
            applied: Mark::new(),
            operations,
        }
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.requests.family.clone()))?;
        registry.register(Box::new(self.applies.family.clone()))?;
        registry.register(Box::new(self.ranges.family.clone()))?;
        registry.register(Box::new(self.slow.clone()))
    }

    /// Records a batch whose application began at `started` and ends now. Call it before answering
    /// the batch.
    pub(crate) fn applied(&self, batch: &mut Batch, started: Instant) {
        let took = self.applied.set() - started;
        let Batch { counts } = std::mem::take(batch);
        let total: u32 = counts.iter().flatten().sum();
        if total == 0 {
            return;
        }
        let part = took.as_secs_f64() / f64::from(total);
        for (kind, counts) in CommandKind::ALL.into_iter().zip(counts) {
            for (success, count) in [false, true].into_iter().zip(counts) {
                if count > 0 {
                    let labels = ["v3", kind.name()];
                    observe(self.applies.get(index(kind), &labels, success), part, count);
                }
            }
        }
        self.check_pace(took, "batch", total);
    }

    /// Counts and logs a batch or read that was slow.
    fn check_pace(&self, took: Duration, what: &str, requests: u32) {
        if took <= self.slow_after {
            return;
        }
        self.slow.inc();
        if let Some(others) = self.slow_lines.allows() {
            let expected = self.slow_after;
            tracing::warn!(
                took = ?took,
                "expected-duration" = ?expected,
                prefix = what,
                requests,
                others,
                "apply request took too long"
            );
        }
    }

    /// Records a request that was refused before it was proposed. As in etcd, any refusal counts as
    /// success: the request was answered.
    pub fn refused(&self, kind: CommandKind) {
        self.request(kind, true, Duration::ZERO);
    }

    /// Records a proposal made at `started` and answered when the last batch was applied.
    pub(crate) fn answered(&self, kind: CommandKind, started: Instant) {
        self.request(kind, true, self.applied.get().saturating_duration_since(started));
    }

    /// Records a proposal made at `started` that got no answer.
    pub(crate) fn unanswered(&self, kind: CommandKind, started: Instant) {
        self.request(kind, false, started.elapsed());
    }

    fn request(&self, kind: CommandKind, success: bool, took: Duration) {
        let histogram = self.requests.get(index(kind), &[kind.name()], success);
        histogram.observe(took.as_secs_f64());
    }

    /// Starts measuring a read that began at `started`.
    pub(crate) fn read(&self, kind: Read, started: Instant) -> Reading<'_> {
        Reading { durations: self, kind, started, ready: None, success: false }
    }

    /// Runs and measures a range read that is part of a larger answer.
    ///
    /// # Errors
    /// The error of `read`.
    pub fn range<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = Instant::now();
        let result = read();
        self.range_done(started.elapsed(), result.is_ok());
        result
    }

    fn range_done(&self, took: Duration, success: bool) {
        self.operations.range();
        self.ranges.get(0, &[], success).observe(took.as_secs_f64());
    }

    /// Counts a transaction's operations on keys.
    pub fn count(&self, tally: &Tally) {
        self.operations.add(tally);
    }
}

/// Observes the same value `count` times.
fn observe(histogram: &Histogram, value: f64, count: u32) {
    if count == 1 {
        return histogram.observe(value);
    }
    let local = histogram.local();
    for _ in 0..count {
        local.observe(value);
    }
    local.flush();
}

/// A read in progress. Dropped without [`Reading::end`], it counts as failed.
#[derive(Debug)]
pub struct Reading<'a> {
    durations: &'a Durations,
    kind: Read,
    started: Instant,
    /// When the read was allowed to start, after its wait for linearizability.
    ready: Option<Instant>,
    success: bool,
}

impl Reading<'_> {
    /// Sets the time from which the read may run.
    pub(crate) fn ready(&mut self, since: Instant) {
        self.ready = Some(since.max(self.started));
    }

    /// Ends the read with its result, which it returns.
    ///
    /// # Errors
    /// The error in `result`.
    pub fn end<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.success = result.is_ok();
        result
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let Self { durations, kind, started, ready, success } = *self;
        let now = Instant::now();
        let took = now - started;
        let (kind, name) = match kind {
            Read::Range => (CommandKind::ALL.len(), "Range"),
            Read::Txn => (CommandKind::ALL.len() + 1, "ReadonlyTxn"),
        };
        durations.requests.get(kind, &[name], success).observe(took.as_secs_f64());
        if let Some(ready) = ready {
            durations.range_done(now.saturating_duration_since(ready), success);
        }
        durations.check_pace(took, name, 1);
    }
}
