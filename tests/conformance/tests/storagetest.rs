//! The API server's storage contract, as the API server itself tests it, against Quorate: with a
//! process for each test, and on one server that all share.
//!
//! The tests are Kubernetes' own, run by a program of `tests/conformance/storagetest`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;

/// How the API server reads: each test runs with both.
const WAYS: [&str; 2] = ["pages", "RangeStream"];
/// Tests for each way of reading.
const TESTS: usize = 53;
/// What needs a server on which nothing was ever written, and skips itself on another.
const NEEDS_NEW_SERVER: &str = "WatchSemantics";
/// Lines of output shown before and after the word that a test failed.
const CONTEXT_LINES: usize = 15;

/// The program, or `None`, said loudly, when it cannot be built here.
fn storagetest() -> Option<Command> {
    if !require::met("the storage contract", &[Need::Program("go"), Need::Program("bash")]) {
        return None;
    }
    program::run_script("tests/conformance/storagetest/build.sh", &[]);
    let mut command = Command::new(program::cache().join("bin/storagetest.test"));
    command.env_remove("ETCD_ENDPOINTS").env_remove("STORE_UNDER_TEST").arg("-test.v");
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

#[test]
fn each_on_a_server_of_its_own() {
    let Some(_) = storagetest() else { return };
    let quorate = program::quorate();
    // Most of the time is waiting: both ways at once.
    std::thread::scope(|scope| {
        for way in WAYS {
            let mut command = storagetest().expect("it was there a moment ago");
            command.env("STORE_UNDER_TEST", &quorate);
            scope.spawn(move || passes(way, command, &[]));
        }
    });
}

#[test]
fn all_on_one_server() {
    let Some(_) = storagetest() else { return };
    let quorate = program::quorate();
    let server = Server::start_new(&quorate, &["--watch-progress-notify-interval=1s"]);
    for way in WAYS {
        let mut command = storagetest().expect("it was there a moment ago");
        command.env("ETCD_ENDPOINTS", server.url());
        passes(way, command, &[NEEDS_NEW_SERVER]);
    }
}
