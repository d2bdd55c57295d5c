//! The API server's storage contract, as the API server itself tests it, against Quorate: with a
//! process for each test, and on one server that all share. The same on three members, of which one
//! that does not lead is asked, also while another one is killed.
//!
//! The tests are Kubernetes' own, run by a program of `tests/conformance/storagetest`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use quorate_test_conformance::lender::lend;
use quorate_test_support::by_follower::ByFollower;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;

/// How the API server reads: each test runs with both.
const WAYS: [&str; 2] = ["pages", "RangeStream"];
/// Tests for each way of reading.
const TESTS: usize = 53;
/// What needs a server on which nothing was ever written, and skips itself on another.
const NEEDS_NEW_SERVER: &str = "WatchSemantics";
/// What the tests of progress rely on.
const FLAGS: [&str; 1] = ["--watch-progress-notify-interval=1s"];
/// How often a member is killed of those that all tests share, for half a minute.
const KILLED_EVERY: Duration = Duration::from_secs(5);
/// How often one is killed where each test has its own, which are soon over: it begins with them.
const KILLED_EVERY_IN_TEST: Duration = Duration::from_secs(1);
/// Lines of output shown before and after the word that a test failed.
const CONTEXT_LINES: usize = 15;

/// The program, or `None`, said loudly, when it cannot be built here.
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

/// How the tests of one way of reading ended, by name; tests within tests are left out.
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

/// The lines round each failure.
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

/// Runs the tests of one way of reading to their end and checks that all of them passed but those
/// `left_out`.
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

/// Both ways at once, each with a variable in its environment. Most of the time is waiting.
fn both_ways_pass(variable: &str, value: &str) {
    std::thread::scope(|scope| {
        for way in WAYS {
            let mut command = storagetest().expect("it was there a moment ago");
            command.env(variable, value);
            scope.spawn(move || passes(way, command, &[]));
        }
    });
}

/// One way after the other, on what is at this URL.
fn each_way_passes(url: &str) {
    for way in WAYS {
        let mut command = storagetest().expect("it was there a moment ago");
        command.env("ETCD_ENDPOINTS", url);
        passes(way, command, &[NEEDS_NEW_SERVER]);
    }
}

fn three_members() -> ByFollower {
    ByFollower::of(Cluster::start_new_in_turn(&program::quorate(), 3, &FLAGS))
}

/// Each test on three members of its own.
fn each_on_three_members(killed_every: Option<Duration>) {
    let Some(_) = storagetest() else { return };
    lend(three_members, killed_every, |address| both_ways_pass("SERVERS_FROM", address));
}

/// All tests on the same three members.
fn all_on_three_members(killed_every: Option<Duration>) {
    let Some(_) = storagetest() else { return };
    let cluster = three_members().killed(killed_every);
    each_way_passes(&cluster.url());
    cluster.finish();
}

#[test]
fn each_on_a_server_of_its_own() {
    let Some(_) = storagetest() else { return };
    both_ways_pass("STORE_UNDER_TEST", &program::quorate().display().to_string());
}

#[test]
fn all_on_one_server() {
    let Some(_) = storagetest() else { return };
    let server = Server::start_new(&program::quorate(), &FLAGS);
    each_way_passes(&server.url());
}

#[test]
fn each_on_a_follower_of_its_own() {
    each_on_three_members(None);
}

#[test]
fn each_on_a_follower_of_its_own_while_another_is_killed() {
    each_on_three_members(Some(KILLED_EVERY_IN_TEST));
}

#[test]
fn all_on_a_follower() {
    all_on_three_members(None);
}

#[test]
fn all_on_a_follower_while_another_is_killed() {
    all_on_three_members(Some(KILLED_EVERY));
}
