//! How members join their cluster, and which ones are refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod discovery;
mod existing;
mod forced;
mod initial_cluster;
mod learner;
mod leaving;
mod quorum;
mod srv;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::server::Server;

/// A running cluster of Quorate members without TLS.
fn cluster(size: usize) -> Cluster {
    Cluster::start_new(&program::quorate(), size, &[])
}

/// Starts a member that must refuse to start, and returns its log.
fn refusal(server: &mut Server) -> String {
    server.spawn();
    let status = server.wait_for_end();
    let said = server.log_of_run();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

/// Deletes a member's data directory.
fn wipe(server: &Server) {
    std::fs::remove_dir_all(server.data_dir()).unwrap();
}
