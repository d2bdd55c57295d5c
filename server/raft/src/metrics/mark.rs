//! The time of the last event of a kind.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time of the last event, for tasks that run too late after it to read the clock themselves.
#[derive(Debug)]
pub(crate) struct Mark {
    epoch: Instant,
    nanos: AtomicU64,
}

impl Mark {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), nanos: AtomicU64::new(0) }
    }

    /// Records and returns the current time.
    pub(crate) fn set(&self) -> Instant {
        let now = Instant::now();
        let nanos = u64::try_from((now - self.epoch).as_nanos()).unwrap_or(u64::MAX);
        self.nanos.store(nanos, Ordering::Relaxed);
        now
    }

    pub(crate) fn get(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}
