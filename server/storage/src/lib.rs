//! Everything durable: the write-ahead log, the database under the state machine, the directory
//! they lie in. Synchronous; threads of its own where something must happen in the background.

#![forbid(unsafe_code)]

pub mod base;
pub mod data_dir;
pub mod space;
pub mod sync;
pub mod wal;

use std::sync::Arc;
use std::thread::JoinHandle;

/// Called when something durable can no longer be written. The process must stop: what the disk
/// holds is then unknown, and nothing may be acknowledged any more.
pub type OnFault = Arc<dyn Fn(String) + Send + Sync>;

/// Waits for the end of a thread that was told to stop. The thread itself can be the last that lets
/// go of its owner, in something that it calls: it then ends by itself, and cannot be waited for.
pub(crate) fn join(thread: Option<JoinHandle<()>>, does: &str) {
    let Some(thread) = thread else { return };
    let is_this_one = thread.thread().id() == std::thread::current().id();
    if !is_this_one && thread.join().is_err() {
        tracing::error!("the thread that {does} panicked");
    }
}
