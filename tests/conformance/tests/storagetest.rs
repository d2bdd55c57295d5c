//! Runs Kubernetes' own tests of the storage contract of its API server against Quorate: each test
//! on a new server, and all tests on one shared server; then the same on a follower in a cluster of
//! three members, with and without repeated kills of the other follower.
//!
//! The program in `tests/conformance/storagetest` runs the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use quorate_test_conformance::cluster_pool::ClusterPool;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;

/// The API server's ways to read; each test runs with both.
const WAYS: [&str; 2] = ["pages", "RangeStream"];
/// Number of tests for each way of reading.
const TESTS: usize = 53;
/// A test that needs a server without any history, and skips itself otherwise.
const NEEDS_NEW_SERVER: &str = "WatchSemantics";
/// The tests of progress notifications need this interval.
const FLAGS: [&str; 1] = ["--watch-progress-notify-interval=1s"];
/// Interval of the kills in the cluster that all tests share. The tests take half a minute.
const KILLED_EVERY: Duration = Duration::from_secs(5);
/// Interval of the kills if each test has its own cluster. The tests are short; the first kill is
/// at their start.
const KILLED_EVERY_IN_TEST: Duration = Duration::from_secs(1);
/// Lines of output shown before and after a failure.
const CONTEXT_LINES: usize = 15;

/// The test program; `None`, reported as a skip, if it cannot be built here.
fn storagetest() -> Option<Command> {
    if !require::met("the storage contract", &[Need::Program("go"), Need::Program("bash")]) {
        return None;
    }
    program::run_script("tests/conformance/storagetest/build.sh", &[]);
    let mut command = Command::new(program::cache().join("bin/storagetest.test"));
    for choice in ["ETCD_ENDPOINTS", "STORE_UNDER_TEST", "SERVERS_FROM"] {
        command.env_remove(choice);
    }
    command.arg("-test.v");
    Some(command)
}

/// Outcomes of the tests of one way of reading, by name, without subtests.
fn outcomes(way: &str, output: &str) -> BTreeMap<String, String> {
    let prefix = format!("TestContract/{way}/");
    let ended = output.lines().filter_map(|line| line.trim_start().strip_prefix("--- "));
    let ended = ended.filter_map(|line| {
        let (outcome, rest) = line.split_once(": ")?;
        let name = rest.split(' ').next()?.strip_prefix(&prefix)?;
        (!name.contains('/')).then(|| (name.to_owned(), outcome.to_owned()))
    });
    ended.collect()
}

/// The output around each failure.
fn failures(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let mut shown = BTreeSet::new();
    for (at, line) in lines.iter().enumerate() {
        if line.contains("--- FAIL") || line.starts_with("panic:") {
            let from = at.saturating_sub(CONTEXT_LINES);
            shown.extend(from..(at + CONTEXT_LINES).min(lines.len()));
        }
    }
    shown.into_iter().map(|at| format!("{}\n", lines[at])).collect()
}

/// Runs the tests of one way of reading, and asserts that all of them pass except those in
/// `left_out`, which do not run.
fn passes(way: &str, mut command: Command, left_out: &[&str]) {
    let run = format!("-test.run=^TestContract$/^{way}$");
    let skip = left_out.iter().map(|name| format!("-test.skip=/{way}/^{name}$"));
    let result = command.arg(run).args(skip).output().expect("the tests run");
    let output = [result.stdout, result.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    let outcomes = outcomes(way, &output);
    let bad: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome != "PASS").collect();
    assert!(bad.is_empty(), "{way}: {bad:?}\n{}", failures(&output));
    assert!(result.status.success(), "{way}: {}\n{}", result.status, failures(&output));
    assert_eq!(outcomes.len(), TESTS - left_out.len(), "{way}: {:?}", outcomes.keys());
    assert!(left_out.iter().all(|name| !outcomes.contains_key(*name)));
}

/// Runs the tests of both ways of reading, with this environment variable. They run concurrently,
/// because they mostly wait.
fn both_ways_pass(variable: &str, value: &str) {
    std::thread::scope(|scope| {
        for way in WAYS {
            let mut command = storagetest().expect("it was there a moment ago");
            command.env(variable, value);
            scope.spawn(move || passes(way, command, &[]));
        }
    });
}

/// Runs the tests of one way of reading after those of the other, on the server at `url`.
fn each_way_passes(url: &str) {
    for way in WAYS {
        let mut command = storagetest().expect("it was there a moment ago");
        command.env("ETCD_ENDPOINTS", url);
        passes(way, command, &[NEEDS_NEW_SERVER]);
    }
}

fn three_members() -> FollowerCluster {
    FollowerCluster::new(Cluster::start_new_in_turn(&program::quorate(), 3, &FLAGS))
}

/// Runs each test on its own cluster of three members.
fn each_on_three_members(killed_every: Option<Duration>) {
    let Some(_) = storagetest() else { return };
    let pool = ClusterPool::new(three_members, killed_every);
    pool.serve(|address| both_ways_pass("SERVERS_FROM", address));
}

/// Runs all tests on the same three members.
fn all_on_three_members(killed_every: Option<Duration>) {
    let Some(_) = storagetest() else { return };
    let cluster = three_members().with_kills(killed_every);
    each_way_passes(&cluster.url());
    cluster.finish();
}

#[test]
fn each_test_passes_on_a_server_of_its_own() {
    let Some(_) = storagetest() else { return };
    both_ways_pass("STORE_UNDER_TEST", &program::quorate().display().to_string());
}

#[test]
fn all_tests_pass_on_one_server() {
    let Some(_) = storagetest() else { return };
    let server = Server::start_new(&program::quorate(), &FLAGS);
    each_way_passes(&server.url());
}

#[test]
fn each_test_passes_on_a_follower_of_its_own() {
    each_on_three_members(None);
}

#[test]
fn each_test_passes_on_a_follower_while_the_other_is_killed() {
    each_on_three_members(Some(KILLED_EVERY_IN_TEST));
}

#[test]
fn all_tests_pass_on_a_follower() {
    all_on_three_members(None);
}

#[test]
fn all_tests_pass_on_a_follower_while_the_other_is_killed() {
    all_on_three_members(Some(KILLED_EVERY));
}
