//! How long requests take, and applying what they wrote.
//!
//! The clock is read once for many: a batch of entries is measured as a whole and its time shared
//! out in equal parts, and a proposal's answer counts as given when its batch was applied.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, Registry, exponential_buckets,
};
use quorate_core::{Kind, Refusal, Tally};
use tokio::time::Instant;

use super::mark::Mark;
use super::operations::Operations;

/// Requests of one kind above this are slow; etcd's default.
const SLOW: Duration = Duration::from_millis(100);
/// Kinds of request: those of commands, and two that only read.
const REQUESTS: usize = Kind::ALL.len() + 2;

/// A request that only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A range.
    Range,
    /// A transaction of ranges alone.
    Txn,
}

/// A histogram for each kind and outcome. It is looked up once, and shown once it has something to
/// show.
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

    /// The histogram of a kind and an outcome; `labels` are what comes before the outcome.
    fn get(&self, kind: usize, labels: &[&str], success: bool) -> &Histogram {
        self.made[kind][usize::from(success)].get_or_init(|| {
            let outcome = if success { "true" } else { "false" };
            self.family.with_label_values(&[labels, &[outcome]].concat())
        })
    }
}

fn index(kind: Kind) -> usize {
    kind as usize - 1
}

/// How many commands of each kind were refused and carried out in a batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    counts: [[u32; 2]; Kind::ALL.len()],
}

impl Batch {
    /// Notes a command. One for history that is compacted already did what it should, as in etcd.
    pub(crate) fn note<R>(&mut self, kind: Kind, reply: &Result<R, Refusal>) {
        let success = matches!(reply, Ok(_) | Err(Refusal::Compacted));
        self.counts[index(kind)][usize::from(success)] += 1;
    }
}

/// The durations.
#[derive(Debug)]
pub struct Durations {
    requests: Series<REQUESTS>,
    applies: Series<{ Kind::ALL.len() }>,
    ranges: Series<1>,
    slow: IntCounter,
    /// When a batch was last applied.
    applied: Mark,
    operations: Operations,
}

impl Durations {
    pub(super) fn new(operations: Operations) -> Self {
        let slow = "Batches of applied requests, and reads, that took longer than 100 ms.";
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
                "The time it took to apply a request: its part of its batch's.",
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

    /// A batch that began at `started` is applied. To be called before it is answered.
    pub(crate) fn applied(&self, batch: &mut Batch, started: Instant) {
        let took = self.applied.set() - started;
        let Batch { counts } = std::mem::take(batch);
        let total: u32 = counts.iter().flatten().sum();
        if total == 0 {
            return;
        }
        let part = took.as_secs_f64() / f64::from(total);
        for (kind, counts) in Kind::ALL.into_iter().zip(counts) {
            for (success, count) in [false, true].into_iter().zip(counts) {
                if count > 0 {
                    let labels = ["v3", kind.name()];
                    observe(self.applies.get(index(kind), &labels, success), part, count);
                }
            }
        }
        self.slow.inc_by(u64::from(took > SLOW));
    }

    /// A request was refused before it could be proposed. As in etcd that is a success, like every
    /// refusal: the request was answered.
    pub fn refused(&self, kind: Kind) {
        self.request(kind, true, Duration::ZERO);
    }

    /// A proposal made at `started` was answered: no earlier than a batch was last applied.
    pub(crate) fn answered(&self, kind: Kind, started: Instant) {
        self.request(kind, true, self.applied.get().saturating_duration_since(started));
    }

    /// A proposal made at `started` got no answer.
    pub(crate) fn unanswered(&self, kind: Kind, started: Instant) {
        self.request(kind, false, started.elapsed());
    }

    fn request(&self, kind: Kind, success: bool, took: Duration) {
        let histogram = self.requests.get(index(kind), &[kind.name()], success);
        histogram.observe(took.as_secs_f64());
    }

    /// A read begins, or began at `started`.
    pub(crate) fn read(&self, kind: Read, started: Instant) -> Reading<'_> {
        Reading { durations: self, kind, started, ready: None, success: false }
    }

    /// Reads a range that is part of a larger answer.
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

    /// Counts the operations on keys of a transaction.
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

/// A read under way. It counts as failed unless [`Reading::end`] says otherwise before it is
/// dropped.
#[derive(Debug)]
pub struct Reading<'a> {
    durations: &'a Durations,
    kind: Read,
    started: Instant,
    /// Since when it may read.
    ready: Option<Instant>,
    success: bool,
}

impl Reading<'_> {
    /// It may read since then.
    pub(crate) fn ready(&mut self, since: Instant) {
        self.ready = Some(since.max(self.started));
    }

    /// It came to this.
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
            Read::Range => (Kind::ALL.len(), "Range"),
            Read::Txn => (Kind::ALL.len() + 1, "ReadonlyTxn"),
        };
        durations.requests.get(kind, &[name], success).observe(took.as_secs_f64());
        if let Some(ready) = ready {
            durations.range_done(now.saturating_duration_since(ready), success);
        }
        durations.slow.inc_by(u64::from(took > SLOW));
    }
}
