//! Limits the proposals in flight.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ground::request::RequestError;

/// Maximum number of proposals in flight; more are refused, not queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Maximum bytes of proposals in flight.
const BYTES_MAX: usize = 256 << 20;

/// Counts the proposals in flight.
#[derive(Debug, Default)]
pub(super) struct Admission {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    /// Admits a proposal of `bytes` bytes.
    ///
    /// # Errors
    /// `TooManyRequests` if there are too many proposals in flight.
    pub(super) fn admit(&self, bytes: usize) -> Result<Permit<'_>, RequestError> {
        let permit = Permit { admission: self, bytes };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A single proposal is admitted whatever its size.
        if count >= PROPOSALS_MAX || (before > 0 && before + bytes > BYTES_MAX) {
            return Err(RequestError::TooManyRequests);
        }
        Ok(permit)
    }

    /// The number of proposals in flight.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// A proposal in flight.
pub(super) struct Permit<'a> {
    admission: &'a Admission,
    bytes: usize,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.admission.count.fetch_sub(1, Ordering::Relaxed);
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
