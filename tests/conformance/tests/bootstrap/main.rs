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

use quorate_test_conformance::data_dir::exit_status;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program};

/// A running cluster of Quorate members without TLS.
fn cluster(size: usize) -> Cluster {
    Cluster::start_new(&program::quorate(), size, &[])
}

/// Starts a member that must refuse to start, and returns its log.
fn refusal(server: &mut Server) -> String {
    server.spawn();
    assert_ended(server, None);
    server.log_of_run()
}

/// Waits until a member ends for this reason, if any; the last line of its log must have it.
fn assert_ended(server: &mut Server, reason: Option<&str>) {
    let status = server.wait_for_end();
    let said = server.log_of_run();
    let last = said.lines().next_back().unwrap_or_default();
    assert_eq!(status.code(), Some(exit_status(last)), "{said}");
    if let Some(reason) = reason {
        assert_contains(last, &[&format!("\"reason\":\"{reason}\"")]);
    }
}

/// Deletes a member's data directory.
fn wipe(server: &Server) {
    std::fs::remove_dir_all(server.data_dir()).unwrap();
}
