//! Takes memory for calls and answers from the memory budget.

use std::time::Duration;

use bytes::Bytes;
use quorate_raft::{Account, Permit};
use tokio::time::Instant;

use crate::error::ApiError;

/// Bytes charged for every call. They include a small request and a small answer.
pub(crate) const CALL_BYTES: usize = 4 << 10;
/// The share of [`CALL_BYTES`] that is for the request.
pub(crate) const REQUEST_BYTES: usize = 2 << 10;
/// Bytes of an answer that need no permit, because the permit of the call includes them.
pub(crate) const ANSWER_BYTES: usize = CALL_BYTES - REQUEST_BYTES;
/// Before an answer begins, it waits at most this long for memory.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Takes bytes of the budget, waiting up to `within` for them.
///
/// # Errors
/// [`ApiError::TooManyRequests`] if there is no room in time.
///
/// # Cancel safety
/// Nothing is taken when the future is dropped.
pub(crate) async fn take(
    account: &Account,
    bytes: usize,
    within: Duration,
) -> Result<Permit, ApiError> {
    // Fast path: with room, the clock is not read.
    if let Some(permit) = account.try_acquire(bytes) {
        return Ok(permit);
    }
    let taken = account.acquire(bytes, Instant::now() + within).await;
    taken.map_err(|_| ApiError::TooManyRequests)
}

/// Bytes with a permit, which is returned when the bytes are dropped.
struct Charged {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns the same bytes. They keep `permit` until they are dropped, and the connection drops
/// them after it has written them.
pub(crate) fn charged(bytes: Bytes, permit: Permit) -> Bytes {
    Bytes::from_owner(Charged { bytes, _permit: permit })
}
