//! Runs reads that can take long. They run on threads of their own, and end soon after their client
//! stops waiting. The memory budget grants them the memory that they keep.

pub(crate) mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::mvcc::ReadContext;
use quorate_raft::{Account, Permit};
use tokio::sync::Notify;

use self::pool::Pool;
use crate::error::ApiError;
use crate::memory::{ANSWER_WITHIN, take};

/// Bytes of the memory budget that a scan takes before it begins. Whenever it needs more, it takes
/// at least this number of bytes again.
const STEP_BYTES: usize = 64 << 10;

/// The client of a scan, which the scan polls to learn whether to end.
pub(crate) struct Client {
    /// Whether the client has stopped waiting.
    is_gone: AtomicBool,
    /// Signalled when the client stops waiting.
    gone: Notify,
    /// Whether the memory budget lacks room for the memory that the scan keeps.
    is_exhausted: AtomicBool,
    kept: Mutex<Kept>,
}

/// The memory that a scan keeps, and its share of the budget.
struct Kept {
    bytes: usize,
    permit: Permit,
}

impl ReadContext for Client {
    fn is_cancelled(&self) -> bool {
        if self.is_gone.load(Ordering::Relaxed) {
            return true;
        }
        // Scans call this often, so it is also the place where they make way for others.
        pool::make_way(&self.gone);
        std::thread::yield_now();
        self.is_gone.load(Ordering::Relaxed) || self.is_exhausted.load(Ordering::Relaxed)
    }

    fn keep(&self, bytes: usize) {
        let mut kept = self.kept.lock();
        kept.bytes = kept.bytes.saturating_add(bytes);
        let missing = kept.bytes.saturating_sub(kept.permit.bytes());
        if missing > 0 && !kept.permit.try_grow(missing.max(STEP_BYTES)) {
            self.is_exhausted.store(true, Ordering::Relaxed);
        }
    }
}

/// Ends a scan when the future that waits for it is dropped.
struct GoneOnDrop(Arc<Client>);

impl Drop for GoneOnDrop {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
        self.0.gone.notify_one();
    }
}

/// The result of a scan, with the permit for the memory that the result uses.
pub(crate) struct Scanned<R> {
    pub(crate) result: R,
    pub(crate) kept: Permit,
}

impl Pool {
    /// Runs a scan on a thread of the pool. The scan must use the client as the context of its
    /// views. Then the scan ends soon after the future is dropped.
    ///
    /// # Errors
    /// The memory budget has no room, or the scan cannot run.
    pub(crate) async fn scan<R: Send + 'static>(
        &self,
        account: &Account,
        scan: impl FnOnce(&Arc<Client>) -> R + Send + 'static,
    ) -> Result<Scanned<R>, ApiError> {
        self.scan_within(account, ANSWER_WITHIN, scan).await
    }

    /// Runs a scan as [`scan`](Self::scan) does, but waits up to `within` for memory.
    ///
    /// # Errors
    /// Those of [`scan`](Self::scan).
    pub(crate) async fn scan_within<R: Send + 'static>(
        &self,
        account: &Account,
        within: Duration,
        scan: impl FnOnce(&Arc<Client>) -> R + Send + 'static,
    ) -> Result<Scanned<R>, ApiError> {
        let permit = take(account, STEP_BYTES, within).await?;
        let client = Arc::new(Client {
            is_gone: AtomicBool::new(false),
            gone: Notify::new(),
            is_exhausted: AtomicBool::new(false),
            kept: Mutex::new(Kept { bytes: 0, permit }),
        });
        let _gone = GoneOnDrop(client.clone());
        let run = self.run(account.scans(), move || {
            let result = scan(&client);
            let mut kept = client.kept.lock();
            let bytes = kept.bytes;
            kept.permit.shrink_to(bytes);
            let kept = kept.permit.split(bytes);
            (result, kept, client.is_exhausted.load(Ordering::Relaxed))
        });
        let (result, kept, is_exhausted) = run.await.map_err(|error| {
            tracing::error!(%error, "a scan failed");
            ApiError::Unreadable
        })?;
        if is_exhausted { Err(ApiError::TooManyRequests) } else { Ok(Scanned { result, kept }) }
    }
}
