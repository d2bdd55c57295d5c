//! Connections that are closed together.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time limit for the TLS handshake and for a client's first bytes, as in etcd.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for the same once the program has begun to stop.
const STOP_WITHIN: Duration = Duration::from_millis(250);

/// A group of connections that are closed together. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Connections {
    /// Refuses new connections, and new requests on existing ones.
    pub(crate) fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Waits until the closed connections have ended, but no longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "connections did not end in time");
        }
    }

    /// Waits for a client's first bytes or handshake. Returns `None` after [`HANDSHAKE_TIMEOUT`],
    /// or [`STOP_WITHIN`] after the program began to stop.
    pub(super) async fn in_time<F: Future>(&self, first: F) -> Option<F::Output> {
        let too_late = async {
            let stop = &self.stop;
            if stop.run_until_cancelled(tokio::time::sleep(HANDSHAKE_TIMEOUT)).await.is_none() {
                tokio::time::sleep(STOP_WITHIN).await;
            }
        };
        tokio::select! {
            biased;
            first = first => Some(first),
            () = too_late => None,
        }
    }
}
