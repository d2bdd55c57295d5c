//! Limits the proposals in flight.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ground::request::RequestError;

/// Maximum number of proposals in flight; more are refused, not queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Maximum bytes of proposals in flight.
const BYTES_MAX: usize = 256 << 20;

/// Counts the proposals in flight: those that are not applied yet, even if their clients have given
/// up.
#[derive(Debug)]
pub(crate) struct Admission {
    in_flight: Arc<InFlight>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct InFlight {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    /// `memory_budget` is the size of the memory budget in bytes. The requests of waiting clients
    /// fit into it, so no proposal is refused for its bytes unless clients have given up others.
    pub(crate) fn new(memory_budget: usize) -> Self {
        Self { in_flight: Arc::default(), bytes_max: BYTES_MAX.min(memory_budget) }
    }

    /// Admits a proposal of `bytes` bytes. It is in flight until the permit is dropped.
    ///
    /// # Errors
    /// `TooManyRequests` if there are too many proposals in flight.
    pub(super) fn admit(&self, bytes: usize) -> Result<Permit, RequestError> {
        let count = self.in_flight.count.fetch_add(1, Ordering::Relaxed);
        let before = self.in_flight.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { in_flight: self.in_flight.clone(), bytes };
        // A single proposal is admitted whatever its size.
        if count >= PROPOSALS_MAX || (before > 0 && before + bytes > self.bytes_max) {
            return Err(RequestError::TooManyRequests);
        }
        Ok(permit)
    }

    /// The number of proposals in flight.
    pub(super) fn count(&self) -> usize {
        self.in_flight.count.load(Ordering::Relaxed)
    }
}

/// A proposal in flight.
#[derive(Debug)]
pub(super) struct Permit {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_in_flight_have_limits() {
        let admission = Admission::new(1000);
        let large = admission.admit(5000).unwrap();
        assert!(admission.admit(1).is_err(), "a proposal above the limit is alone");
        drop(large);
        let first = admission.admit(600).unwrap();
        assert!(admission.admit(401).is_err());
        let second = admission.admit(400).unwrap();
        assert_eq!(admission.count(), 2);
        drop((first, second));
        let many: Vec<_> = (0..PROPOSALS_MAX).map(|_| admission.admit(0).unwrap()).collect();
        assert!(admission.admit(0).is_err());
        drop(many);
        assert_eq!(admission.count(), 0);
    }
}
