//! What a call holds of the memory budget.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use quorate_raft::{Account, Exhausted, Permit};
use tokio::time::Instant;
use tonic::Status;

use super::intake::Intake;
use crate::error::{ApiError, status};

/// What a call costs beside its messages; with a small request and a small answer nothing more is
/// counted.
pub(crate) const CALL_BYTES: usize = 4 << 10;
/// The part of it that is for the request.
pub(crate) const REQUEST_BYTES: usize = 2 << 10;
/// Bytes of headers that are not counted beside it.
const HEADERS_BYTES: usize = 1 << 10;
/// What others cost: the library keeps the frames that they came in, and more.
const HEADERS_TIMES: usize = 3;
/// How long a call waits for room, and a request for room for its body. Meanwhile, what a client
/// may send without being asked is not counted.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer waits for room before it begins.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Takes bytes of the budget, or says that there are too many requests.
pub(crate) async fn take(
    account: &Account,
    bytes: usize,
    within: Duration,
) -> Result<Permit, Status> {
    // The clock is not read where there is room.
    if let Some(permit) = account.try_acquire(bytes) {
        return Ok(permit);
    }
    account.acquire(bytes, Instant::now() + within).await.map_err(exhausted)
}

/// What a client is told when there is no room.
pub(crate) fn exhausted(_: Exhausted) -> Status {
    status(ApiError::TooManyRequests)
}

/// Bytes on their way to a client, in the budget until the connection has written them.
struct Charged {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes, with which `permit` ends.
pub(crate) fn charged(bytes: Bytes, permit: Permit) -> Bytes {
    Bytes::from_owner(Charged { bytes, _permit: permit })
}

/// Takes what a call costs, which waits for it: more with large headers.
pub(crate) async fn take_call(
    account: &Account,
    intake: &Intake,
    headers: &HeaderMap,
) -> Result<Permit, Status> {
    let lines = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let bytes = CALL_BYTES + HEADERS_TIMES * lines.sum::<usize>().saturating_sub(HEADERS_BYTES);
    if let Some(permit) = account.try_acquire(bytes) {
        return Ok(permit);
    }
    let _waits = intake.wait();
    take(account, bytes, CALL_WITHIN).await
}

/// What the request of a call holds: counted as it arrives, given back when it was answered.
#[derive(Clone)]
pub(crate) struct Held {
    permit: Arc<Mutex<Permit>>,
    intake: Intake,
}

impl Held {
    pub(crate) fn new(account: &Account, intake: Intake) -> Self {
        Self { permit: Arc::new(Mutex::new(account.nothing())), intake }
    }

    /// Takes more if there is room.
    pub(crate) fn try_grow(&self, bytes: usize) -> bool {
        self.permit.lock().try_grow(bytes)
    }

    /// Takes more, waiting for it.
    pub(crate) async fn grow(self, bytes: usize) -> Result<(), Exhausted> {
        let _waits = self.intake.wait();
        let account = self.permit.lock().account().clone();
        let more = account.acquire(bytes, Instant::now() + CALL_WITHIN).await?;
        self.permit.lock().join(more);
        Ok(())
    }

    /// Gives back everything.
    pub(crate) fn release(&self) {
        self.permit.lock().shrink_to(0);
    }
}
