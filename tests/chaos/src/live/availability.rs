//! The availability of a cluster for writes while it changed.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::history::{Moment, Operation, Response};

/// The service that clients had between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Availability {
    /// Acknowledged writes of all clients.
    pub acknowledged: usize,
    /// Requests without an answer.
    pub unknown: usize,
    /// The longest time without an acknowledged write.
    pub stall: Duration,
    /// The beginning of that time, since the clock was created.
    pub stalled_at: Duration,
    /// The longest duration of a request with any outcome.
    pub slowest: Duration,
}

impl Availability {
    /// The availability during `operations` between `from` and `to`.
    pub fn of(operations: &[Operation], from: Moment, to: Moment) -> Self {
        let mut moments: Vec<Duration> = vec![from.elapsed, to.elapsed];
        let mut unknown = 0;
        let mut slowest = Duration::ZERO;
        for operation in operations {
            if is_written(operation) {
                moments.push(operation.returned.elapsed);
            }
            unknown += usize::from(operation.is_unanswered());
            slowest = slowest.max(operation.returned.elapsed - operation.invoked.elapsed);
        }
        let acknowledged = moments.len() - 2;
        moments.sort_unstable();
        let gaps = moments.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (stall, stalled_at) = gaps.max().unwrap_or_default();
        Self { acknowledged, unknown, stall, stalled_at, slowest }
    }
}

impl Display for Availability {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unknown, stalled_at, .. } = self;
        let stall = self.stall.as_millis();
        let slowest = self.slowest.as_millis();
        write!(
            f,
            "{acknowledged} writes, {unknown} requests of unknown outcome; at most {stall} ms \
             without a write, at {stalled_at:.1?}; the slowest request took {slowest} ms"
        )
    }
}

/// The time from `since` until the first acknowledgement of a write that was invoked later; `None`
/// when there is no such write.
pub fn first_write_after(operations: &[Operation], since: Moment) -> Option<Duration> {
    let later = operations.iter().filter(|o| o.invoked > since && is_written(o));
    later.map(|operation| operation.returned.elapsed - since.elapsed).min()
}

/// The smallest value that at least `percent` percent of `sorted` do not exceed.
///
/// # Panics
/// When `sorted` is empty.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted[place]
}

fn is_written(operation: &Operation) -> bool {
    operation.response().is_some_and(Response::says_written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measured_value() {
        let all: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&all, 50), all[49]);
        assert_eq!(percentile(&all, 99), all[98]);
        assert_eq!(percentile(&all, 100), all[99]);
        assert_eq!(percentile(&all[..1], 50), all[0]);
    }
}
