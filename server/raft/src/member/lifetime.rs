//! How a member ends.

use std::future::Future;

use quorate_storage::OnFault;
use quorate_storage::data_dir::DataDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What lasts as long as a member.
pub(super) struct Lifetime {
    pub(super) tasks: TaskTracker,
    /// Ends what other members keep open here, and this one there.
    pub(super) parting: CancellationToken,
    /// Ends what the member does of itself.
    pub(super) stopping: CancellationToken,
    /// To be told when the member cannot go on.
    pub(super) on_fault: OnFault,
    pub(super) _data_dir: DataDir,
}

impl Lifetime {
    /// Runs until other members are parted from.
    pub(super) fn run_until_parting(&self, work: impl Future<Output = ()> + Send + 'static) {
        let parting = self.parting.clone();
        self.tasks.spawn(async move { parting.run_until_cancelled(work).await });
    }

    /// Ends what the member does of itself; no more begins.
    pub(super) fn stop(&self) {
        self.parting.cancel();
        self.stopping.cancel();
        self.tasks.close();
    }
}
