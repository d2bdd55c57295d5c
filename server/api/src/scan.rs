//! Reads that can take long: on threads of their own, for as long as somebody waits for them, and
//! with what they keep in the memory budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_core::mvcc::Patience;
use quorate_raft::{Account, Permit};
use tonic::Status;

use crate::error::{ApiError, status};
use crate::server::Server;
use crate::transport::charge::{ANSWER_WITHIN, take};

/// Bytes that a scan has before it begins, and by which it takes more.
const STEP_BYTES: usize = 64 << 10;

/// The client for which a scan runs.
pub(crate) struct Client {
    is_gone: AtomicBool,
    is_exhausted: AtomicBool,
    kept: Mutex<Kept>,
}

/// What a scan keeps.
struct Kept {
    bytes: usize,
    permit: Permit,
}

impl Patience for Client {
    fn is_over(&self) -> bool {
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

/// Tells a scan that nobody waits for it any more.
struct GoneOnDrop(Arc<Client>);

impl Drop for GoneOnDrop {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

/// What came of a scan, with what it keeps of the memory budget.
pub(crate) struct Scanned<R> {
    pub(crate) result: R,
    pub(crate) kept: Permit,
}

impl Server {
    /// Runs a scan on a thread of its own. Views are to be made patient with the client that it is
    /// given: then it ends soon after the future is dropped.
    pub(crate) async fn scan<R: Send + 'static>(
        &self,
        account: &Account,
        scan: impl FnOnce(&Arc<Client>) -> R + Send + 'static,
    ) -> Result<Scanned<R>, Status> {
        self.scan_within(account, ANSWER_WITHIN, scan).await
    }

    /// The same, for one that may wait for so long until there is memory for it.
    pub(crate) async fn scan_within<R: Send + 'static>(
        &self,
        account: &Account,
        within: Duration,
        scan: impl FnOnce(&Arc<Client>) -> R + Send + 'static,
    ) -> Result<Scanned<R>, Status> {
        let permit = take(account, STEP_BYTES, within).await?;
        let slot = self.scans().acquire_owned().await;
        let slot = slot.map_err(|_| status(ApiError::Stopped))?;
        let client = Arc::new(Client {
            is_gone: AtomicBool::new(false),
            is_exhausted: AtomicBool::new(false),
            kept: Mutex::new(Kept { bytes: 0, permit }),
        });
        let _gone = GoneOnDrop(client.clone());
        let run = tokio::task::spawn_blocking(move || {
            // Until the scan has ended, whether somebody waits for it or not.
            let _slot = slot;
            let result = scan(&client);
            let mut kept = client.kept.lock();
            let bytes = kept.bytes;
            kept.permit.shrink_to(bytes);
            let kept = kept.permit.split(bytes);
            (result, kept, client.is_exhausted.load(Ordering::Relaxed))
        });
        let (result, kept, is_exhausted) = run.await.map_err(|error| {
            tracing::error!(%error, "a scan failed");
            Status::internal("etcdserver: cannot read the store")
        })?;
        match is_exhausted {
            true => Err(status(ApiError::TooManyRequests)),
            false => Ok(Scanned { result, kept }),
        }
    }
}
