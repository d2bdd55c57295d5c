//! Constructors of series. They cannot fail, because the names of the series are constants.

use prometheus::{
    Counter, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, exponential_buckets,
};

pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("constants make a counter")
}

pub(super) fn bytes(name: &str, help: &str) -> Counter {
    Counter::new(name, help).expect("constants make a counter")
}

pub(super) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("constants make counters")
}

pub(super) fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("constants make a gauge")
}

pub(super) fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("constants make gauges")
}

pub(super) fn hash_durations(name: &str, help: &str) -> Histogram {
    let buckets = exponential_buckets(0.01, 2.0, 15).expect("constants make buckets");
    let opts = HistogramOpts::new(name, help).buckets(buckets);
    Histogram::with_opts(opts).expect("constants make a histogram")
}

/// Histograms with the default buckets of Prometheus, as in etcd.
pub(super) fn call_durations(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    HistogramVec::new(HistogramOpts::new(name, help), labels).expect("constants make histograms")
}
