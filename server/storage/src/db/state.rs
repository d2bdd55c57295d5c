//! The state that the engine shares with the threads that write and copy the database.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use quorate_core::store::{FrozenMemtable, RestoredState, Shared};
use quorate_core::{Ending, Fault};

use super::copy::DatabaseCopy;
use super::error::JobError;
use super::estimate::FileUsage;
use super::file::Directory;
use super::metrics::Metrics;
use super::partial::ReceivedSnapshot;
use super::read_txn::ReadTxn;
use super::reason::end_reason;
use super::receive::ReceiveState;
use crate::OnFault;

/// Called once when a job is done or has failed.
pub type JobDone = Box<dyn FnOnce(Result<(), JobError>) + Send>;

/// Called once: with the state for the store when a received snapshot is installed, or with the
/// error.
pub type InstallDone = Box<dyn FnOnce(Result<RestoredState, JobError>) + Send>;

/// Options of the database.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of redb's page cache in bytes.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 40 << 20 }
    }
}

/// Sizes of the database in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Space taken on disk.
    pub allocated: u64,
    /// Bytes of the rows in it.
    pub in_use: u64,
}

/// A job for the writing thread.
pub(super) enum Job {
    Flush(Box<FrozenMemtable>, JobDone),
    /// The last step of a copy, with the number of the file that was copied.
    FinishCopy(Box<DatabaseCopy>, u64),
    Install(Box<ReceivedSnapshot>, InstallDone),
}

/// The state of the database, under one lock.
pub(super) struct EngineState {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closing: bool,
    /// The compacted revision up to which history is deleted.
    pub(super) deleted: i64,
    /// Callbacks that wait for the deletion of history, with their compacted revisions.
    pub(super) waiting_for_deletion: Vec<(i64, JobDone)>,
    /// Start of the running defragmentation, and the callbacks that wait for its end.
    pub(super) defragmenting: Option<(Instant, Vec<JobDone>)>,
    pub(super) sizes: Sizes,
    pub(super) usage: FileUsage,
    /// Whether a flush waits because the disk has no space for it.
    pub(super) is_short: bool,
    /// The last commit.
    pub(super) base: Arc<ReadTxn>,
    /// Number of the file in use.
    pub(super) number: u64,
}

/// The state and the parts that the engine and its threads share.
pub(super) struct EngineShared {
    pub(super) state: Mutex<EngineState>,
    pub(super) wake: Condvar,
    pub(super) receiving: Arc<Mutex<ReceiveState>>,
    pub(super) store: Arc<Shared>,
    pub(super) directory: Directory,
    pub(super) options: Options,
    pub(super) on_fault: OnFault,
    pub(super) metrics: Metrics,
}

impl EngineShared {
    /// Reports that the database cannot be written.
    pub(super) fn fail(&self, error: &Fault) {
        let path = self.directory.path().display();
        let reason: &dyn std::fmt::Display = match error {
            Fault::Storage(reason) => reason,
            other => other,
        };
        let text = format!("cannot write the database in {path}: {reason}");
        (self.on_fault)(Ending { reason: end_reason(error), text });
    }
}
