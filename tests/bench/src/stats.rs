//! The spread of one figure over several rounds, and latencies.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer latencies are counted as this one.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// Minimum, median and maximum of several figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// The spread of figures in any order; `None` without figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let min = *sorted.first()?;
        let max = *sorted.last()?;
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { min, median, max })
    }
}

/// A histogram of latencies, precise to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    nanoseconds: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let longest = nanoseconds(LATENCY_MAX);
        let made = Histogram::new_with_bounds(1, longest, 3);
        Self { nanoseconds: made.expect("constants make a histogram") }
    }

    /// The histogram of these latencies.
    pub(crate) fn of(latencies: impl IntoIterator<Item = Duration>) -> Self {
        let mut all = Self::new();
        latencies.into_iter().for_each(|latency| all.record(latency));
        all
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.nanoseconds.saturating_record(nanoseconds(latency));
    }

    pub(crate) fn count(&self) -> u64 {
        self.nanoseconds.len()
    }

    /// The quantile `share` (0 to 1) in microseconds.
    pub(crate) fn micros(&self, share: f64) -> f64 {
        Duration::from_nanos(self.nanoseconds.value_at_quantile(share)).as_secs_f64() * 1e6
    }

    /// The median in microseconds.
    pub(crate) fn median(&self) -> f64 {
        self.micros(0.5)
    }

    /// The longest latency in microseconds.
    pub(crate) fn worst(&self) -> f64 {
        self.micros(1.0)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_contains_the_median() {
        let odd = Spread::of(&[3.0, 1.0, 9.0]).unwrap();
        assert_eq!(odd, Spread { min: 1.0, median: 3.0, max: 9.0 });
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn latencies_are_in_microseconds() {
        let all = Latencies::of([100, 200, 300, 4000].map(Duration::from_micros));
        assert_eq!(all.count(), 4);
        assert!((all.median() - 200.0).abs() < 1.0, "{}", all.median());
        assert!((all.worst() - 4000.0).abs() < 10.0, "{}", all.worst());
    }
}
