//! Waiting for a condition instead of for a fixed time.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is checked.
const PAUSE: Duration = Duration::from_millis(5);

/// Returns the first `Some` value of `condition`.
///
/// # Panics
/// If there is none within `limit`; the message names `what`.
pub fn until<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    within(limit, condition).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Like [`until`], with `None` instead of a panic.
pub fn within<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
