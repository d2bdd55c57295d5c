//! Clients that load members, and watches beside them.

pub mod client;
pub mod endpoints;
pub mod failover_client;
pub mod load;
pub mod traffic;
pub mod unread;
pub mod value;
pub mod watcher;
pub mod watches;

use tokio::runtime::Runtime;

/// A runtime for clients.
///
/// # Panics
/// When threads cannot be started.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be started")
}
