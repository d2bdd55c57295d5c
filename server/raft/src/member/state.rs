//! The state of a member in memory and on disk.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::store::Shared;
use quorate_storage::db::JobError;
use quorate_storage::db::engine::Sizes;

use crate::disk::flusher::Flusher;
use crate::disk::quota::Quota;
use crate::ground::completion::{Stopped, completion};
use crate::ground::consensus::Consensus;
use crate::ground::progress::Progress;
use crate::ground::request::RequestError;

/// Pause before the final flush checks the disk space again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// The state of a member and its database.
pub(crate) struct State {
    pub(crate) store: Arc<Shared>,
    pub(crate) progress: Progress,
    pub(crate) flusher: Flusher,
    pub(crate) quota: Arc<Quota>,
}

impl State {
    /// The sizes of the database. Data that are only in memory count as in use.
    pub(super) fn sizes(&self) -> Sizes {
        let sizes = self.flusher.engine().sizes();
        let in_use = sizes.in_use + self.store.memtable_bytes() as u64;
        Sizes { allocated: sizes.allocated.max(in_use), in_use }
    }

    /// Waits until the history that a compaction at `revision` removes is deleted.
    pub(super) async fn history_deleted(
        &self,
        revision: i64,
        consensus: &dyn Consensus,
    ) -> Result<(), RequestError> {
        self.flush(consensus).await;
        let (completer, deleted) = completion();
        self.flusher.engine().when_deleted(revision, completer.callback());
        match deleted.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(Stopped) => Err(RequestError::Stopped),
        }
    }

    /// Rewrites the database without its free space.
    pub(super) async fn defragment(&self) -> Result<(), JobError> {
        let (completer, defragmented) = completion();
        self.flusher.engine().defragment(completer.callback());
        defragmented.await.unwrap_or(Err(JobError::Stopped))
    }

    /// Flushes everything applied and waits for the end of the flush.
    pub(super) async fn flush(&self, consensus: &dyn Consensus) {
        self.flusher.idle().await;
        consensus.flush().await;
        self.flusher.idle().await;
    }

    /// Flushes everything, unless the disk is full: the log has the data too.
    pub(super) async fn flush_at_the_end(&self, consensus: &dyn Consensus) {
        let no_room = async {
            while self.flusher.idle_if_there_is_space().await {
                tokio::time::sleep(NO_ROOM_PAUSE).await;
            }
        };
        tokio::select! {
            () = self.flush(consensus) => {}
            () = no_room => {
                tracing::warn!("no disk space for the last flush; the log has the data");
            }
        }
        self.flusher.stop_waiting_for_space();
    }
}
