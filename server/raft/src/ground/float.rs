//! Numbers as values of metrics.

/// A number as the value of a metric; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
pub fn float(number: u64) -> f64 {
    number as f64
}
