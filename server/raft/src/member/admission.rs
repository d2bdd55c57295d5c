//! Limits the proposals in flight.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::budget::{self, Account};
use crate::ground::request::RequestError;

/// Maximum number of proposals in flight; more are refused, not queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Maximum bytes of proposals in flight.
const BYTES_MAX: usize = 256 << 20;
/// Smaller proposals are not charged to the memory budget: all in flight take few bytes.
const CHARGED_FROM: usize = 2 << 10;

/// Counts the proposals in flight, and charges large ones to the memory budget.
pub(crate) struct Admission {
    in_flight: Arc<InFlight>,
    account: Account,
}

#[derive(Debug, Default)]
struct InFlight {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    pub(crate) fn new(account: Account) -> Self {
        Self { in_flight: Arc::default(), account }
    }

    /// Admits a proposal of `bytes` bytes. It is in flight until the permit is dropped.
    ///
    /// # Errors
    /// `TooManyRequests` if there are too many proposals in flight.
    pub(super) fn admit(&self, bytes: usize) -> Result<Permit, RequestError> {
        let count = self.in_flight.count.fetch_add(1, Ordering::Relaxed);
        let before = self.in_flight.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut permit = Permit { in_flight: self.in_flight.clone(), bytes, _memory: None };
        // A single proposal is admitted whatever its size.
        if count >= PROPOSALS_MAX || (before > 0 && before + bytes > BYTES_MAX) {
            return Err(RequestError::TooManyRequests);
        }
        if bytes >= CHARGED_FROM {
            permit._memory = Some(self.account.charge(bytes));
        }
        Ok(permit)
    }

    /// The number of proposals in flight.
    pub(super) fn count(&self) -> usize {
        self.in_flight.count.load(Ordering::Relaxed)
    }
}

/// A proposal in flight.
pub(super) struct Permit {
    in_flight: Arc<InFlight>,
    bytes: usize,
    /// Its bytes in the memory budget.
    _memory: Option<budget::Permit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.count.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
