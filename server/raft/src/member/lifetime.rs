//! The end of a member.

use std::future::Future;

use quorate_storage::OnFault;
use quorate_storage::data_dir::DataDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a member, the ways to end them, and its data directory.
pub(super) struct Lifetime {
    pub(super) tasks: TaskTracker,
    /// Cancels inbound and outbound peer streams.
    pub(super) closing_streams: CancellationToken,
    /// Cancels the member's background tasks.
    pub(super) stopping: CancellationToken,
    /// Called when the member cannot continue.
    pub(super) on_fault: OnFault,
    pub(super) _data_dir: DataDir,
}

impl Lifetime {
    /// Runs `work` until the peer streams are cancelled.
    pub(super) fn run_until_streams_close(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing_streams = self.closing_streams.clone();
        self.tasks.spawn(async move { closing_streams.run_until_cancelled(work).await });
    }

    /// Cancels all background tasks and peer streams, and closes the tracker so that it can be
    /// awaited.
    pub(super) fn stop(&self) {
        self.closing_streams.cancel();
        self.stopping.cancel();
        self.tasks.close();
    }
}
