//! Everything durable: the write-ahead log, the database under the state machine, the directory
//! they lie in. Synchronous; threads of its own where something must happen in the background.

#![forbid(unsafe_code)]

pub mod base;
pub mod data_dir;
pub mod wal;

use std::sync::Arc;

/// Called when something durable can no longer be written. The process must stop: what the disk
/// holds is then unknown, and nothing may be acknowledged any more.
pub type OnFault = Arc<dyn Fn(String) + Send + Sync>;
