//! Charges calls to the memory budget.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use quorate_raft::{Account, Exhausted, Permit};
use tokio::time::Instant;

use super::intake::Intake;
use crate::error::ApiError;
use crate::memory::{CALL_BYTES, take};

/// Bytes of headers that [`CALL_BYTES`] includes.
const HEADERS_BYTES: usize = 1 << 10;
/// Charged bytes per further byte of headers. The HTTP/2 library keeps more than the headers
/// themselves, for example the frames in which they arrived.
const HEADERS_TIMES: usize = 3;
/// Time limit for a call to get memory, and for its body to get more. It is short because the
/// budget does not count the bytes that a client sends meanwhile, within its window.
const CALL_WITHIN: Duration = Duration::from_secs(1);

/// Takes the memory that a call needs at its start: [`CALL_BYTES`], and more for large headers.
/// Waits up to [`CALL_WITHIN`].
///
/// # Errors
/// [`ApiError::TooManyRequests`] if there is no room in time.
pub(crate) async fn take_call(
    account: &Account,
    intake: &Intake,
    headers: &HeaderMap,
) -> Result<Permit, ApiError> {
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let bytes = CALL_BYTES + HEADERS_TIMES * lines.sum::<usize>().saturating_sub(HEADERS_BYTES);
    // A call does not wait behind streams of its connection that wait for much more.
    let mut permit = account.nothing();
    if permit.try_grow(bytes) {
        return Ok(permit);
    }
    let _waits = intake.wait();
    take(account, bytes, CALL_WITHIN).await
}

/// The memory of a request beyond [`REQUEST_BYTES`](crate::memory::REQUEST_BYTES). It is charged
/// as the body arrives, and returned when the request has been answered. Clones share it.
#[derive(Clone)]
pub(crate) struct Held {
    permit: Arc<Mutex<Permit>>,
    intake: Intake,
}

impl Held {
    pub(crate) fn new(account: &Account, intake: Intake) -> Self {
        Self { permit: Arc::new(Mutex::new(account.nothing())), intake }
    }

    /// Takes more bytes if there is room.
    pub(crate) fn try_grow(&self, bytes: usize) -> bool {
        self.permit.lock().try_grow(bytes)
    }

    /// Takes more bytes, waiting up to [`CALL_WITHIN`] for them.
    pub(crate) async fn grow(self, bytes: usize) -> Result<(), Exhausted> {
        let _waits = self.intake.wait();
        let account = self.permit.lock().account().clone();
        let more = account.acquire(bytes, Instant::now() + CALL_WITHIN).await?;
        self.permit.lock().join(more);
        Ok(())
    }

    /// Returns all bytes to the budget.
    pub(crate) fn release(&self) {
        self.permit.lock().shrink_to(0);
    }
}
