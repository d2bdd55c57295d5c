//! How many proposals may be under way.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ground::request::RequestError;

/// Proposals that may be under way at once; more are refused rather than queued.
const PROPOSALS_MAX: usize = 16 << 10;
/// Bytes of proposals that may be under way at once.
const BYTES_MAX: usize = 256 << 20;

/// Counts the proposals that are under way.
#[derive(Debug, Default)]
pub(super) struct Admission {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    /// Lets a proposal in, or refuses it because too many are under way.
    pub(super) fn admit(&self, bytes: usize) -> Result<Permit<'_>, RequestError> {
        let permit = Permit { admission: self, bytes };
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One proposal is let in whatever its size.
        if count >= PROPOSALS_MAX || (before > 0 && before + bytes > BYTES_MAX) {
            return Err(RequestError::TooManyRequests);
        }
        Ok(permit)
    }

    /// How many proposals are under way.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// A proposal under way.
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
