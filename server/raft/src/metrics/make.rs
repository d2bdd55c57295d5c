//! Constructors for metrics with constant names.

use prometheus::{Gauge, IntCounter, IntGauge};

pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("constants make a counter")
}

pub(super) fn gauge(name: &str, help: &str) -> Gauge {
    Gauge::new(name, help).expect("constants make a gauge")
}

pub(super) fn int_gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("constants make a gauge")
}
