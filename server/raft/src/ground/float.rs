//! Numbers as values of metrics.

/// A number as the value of a metric. Above 2^53 it is rounded.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
