//! All durable state: the write-ahead log, the database under the state machine, and the data
//! directory that holds both. The code is synchronous; background work has its own threads.

#![forbid(unsafe_code)]

pub mod data_dir;
pub mod db;
mod format;
mod reason;
mod retry;
pub mod space;
pub mod sync;
pub mod wal;

use std::sync::Arc;
use std::thread::JoinHandle;

pub use format::{DATA_FORMAT, OtherFormat};
use quorate_core::Ending;

/// Called with the reason when the log or the database cannot be written. The process must stop: it
/// no longer knows the content of the disk, so it must not acknowledge anything.
pub type OnFault = Arc<dyn Fn(Ending) + Send + Sync>;

/// Waits for the end of a thread that is stopping. Returns at once on that thread itself: one of
/// its callbacks may have dropped the last reference to its owner, and the thread then ends soon.
pub(crate) fn join(thread: Option<JoinHandle<()>>, does: &str) {
    let Some(thread) = thread else { return };
    let is_this_one = thread.thread().id() == std::thread::current().id();
    if !is_this_one && thread.join().is_err() {
        tracing::error!("the thread that {does} panicked");
    }
}
