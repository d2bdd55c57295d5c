//! Whether this process may act: only while it holds the Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A time of a clock that only goes forward, and that also counts the time in which the machine was
/// suspended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(Duration);

impl Moment {
    /// The present time.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).expect("the clock starts at zero");
        let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
        Self(Duration::new(seconds, nanoseconds))
    }

    /// The time after a span.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0 + span)
    }

    /// The span since an earlier time; zero if the other time is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whether this process may act. It is asked before each request that changes something.
#[derive(Clone, Debug)]
pub struct Gate(Arc<AtomicU64>);

/// This process may not act: it does not hold the Lease, or it cannot know whether it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this process does not hold the Lease")]
pub struct Closed;

impl Gate {
    /// A gate that is closed until [`Gate::open_until`].
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(AtomicU64::new(0)))
    }

    /// A gate that stays open: for a process that is alone.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    /// Opens the gate until a time.
    pub fn open_until(&self, end: Moment) {
        let end = u64::try_from(end.0.as_millis()).unwrap_or(u64::MAX);
        self.0.store(end, Ordering::SeqCst);
    }

    /// Whether this process may act.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self) -> Result<(), Closed> {
        let now = Moment::now().0.as_millis();
        if now < u128::from(self.0.load(Ordering::SeqCst)) { Ok(()) } else { Err(Closed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_open_until_its_end() {
        let gate = Gate::closed();
        assert_eq!(gate.check(), Err(Closed));
        gate.open_until(Moment::now().after(Duration::from_secs(3600)));
        assert_eq!(gate.check(), Ok(()));
        gate.open_until(Moment::now());
        assert_eq!(gate.check(), Err(Closed));
        assert_eq!(Gate::open().check(), Ok(()));
    }
}
