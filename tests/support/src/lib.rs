//! Shared parts of the suites: programs under test, running servers, free ports, certificates,
//! waiting for a condition, and the rule for skipping.
//!
//! Every failure is a panic whose message says what failed. Dropping a value ends what it started.

#![forbid(unsafe_code)]

pub mod certs;
pub mod client;
pub mod cluster;
pub mod control_plane;
pub mod follower_cluster;
pub mod grpc;
pub mod healthy_client;
pub mod http;
pub mod http2;
pub mod killed_server;
pub mod log_pipe;
pub mod metrics;
pub mod net;
pub mod port;
pub mod program;
pub mod proxy;
pub mod require;
pub mod server;
pub mod slow_disk;
pub mod usage;
pub mod wait;

use std::path::PathBuf;

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_path_buf()
}

/// Runs a future to its end on this thread.
///
/// # Panics
/// If the runtime cannot be started.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be started").block_on(future)
}

/// Asserts that `text` contains each of `parts`.
///
/// # Panics
/// If a part is missing.
#[track_caller]
pub fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
