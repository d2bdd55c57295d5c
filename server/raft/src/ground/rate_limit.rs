//! A rate limit for log lines.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Allows one event, and then none until `pause` has passed.
#[derive(Debug)]
pub struct RateLimit {
    pause: Duration,
    /// Time of the last allowed event, and the number of suppressed ones since.
    state: Mutex<(Option<Instant>, u64)>,
}

impl RateLimit {
    /// A limit that has allowed no event yet.
    pub const fn new(pause: Duration) -> Self {
        Self { pause, state: Mutex::new((None, 0)) }
    }

    /// If the event is allowed, the number of events suppressed since the last allowed one.
    pub fn allows(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, suppressed) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.pause) {
            *suppressed += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_events_are_counted() {
        let never_again = RateLimit::new(Duration::MAX);
        assert_eq!([(); 3].map(|()| never_again.allows()), [Some(0), None, None]);
        let always = RateLimit::new(Duration::ZERO);
        assert_eq!([(); 2].map(|()| always.allows()), [Some(0), Some(0)]);
    }
}
