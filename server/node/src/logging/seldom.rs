//! What is said once in a while, however often it happens.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one through, and then none for a while.
pub(crate) struct Seldom {
    pause: Duration,
    /// When the last one came through, and how many have not since.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    pub(crate) const fn new(pause: Duration) -> Self {
        Self { pause, state: Mutex::new((None, 0)) }
    }

    /// Whether one may be said now; if so, how many were not since the last one was.
    pub(crate) fn allows(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, unsaid) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.pause) {
            *unsaid += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_counted() {
        let never_again = Seldom::new(Duration::MAX);
        assert_eq!([(); 3].map(|()| never_again.allows()), [Some(0), None, None]);
        let always = Seldom::new(Duration::ZERO);
        assert_eq!([(); 2].map(|()| always.allows()), [Some(0), Some(0)]);
    }
}
