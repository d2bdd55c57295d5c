//! Shared parts of the suites: programs under test, running servers, free ports, certificates,
//! waiting for a condition, and the rule for skipping.
//!
//! Every failure is a panic whose message says what failed. Dropping a value ends what it started.

#![forbid(unsafe_code)]

pub mod by_follower;
pub mod certs;
pub mod client;
pub mod cluster;
pub mod healthy;
pub mod http;
pub mod http2;
pub mod log_pipe;
pub mod net;
pub mod port;
pub mod program;
pub mod proxy;
pub mod require;
pub mod server;
pub mod usage;
pub mod victim;
pub mod wait;

use std::path::PathBuf;

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_path_buf()
}
