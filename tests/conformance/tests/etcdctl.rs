//! etcdctl prints what it prints on etcd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use quorate_test_conformance::etcdctl::Comparison;
use quorate_test_support::program;
use quorate_test_support::server::Server;

/// Runs a script against both servers and compares.
fn compare(name: &str, flags: &[&str], script: &str) {
    if let Some(mut comparison) = Comparison::start(&format!("etcdctl, {name}"), flags) {
        comparison.run(script);
        comparison.finish();
    }
}

#[test]
fn put() {
    compare("put", &[], include_str!("etcdctl/put.txt"));
}

#[test]
fn get() {
    compare("get", &[], include_str!("etcdctl/get.txt"));
}

#[test]
fn get_at_a_revision() {
    compare("get at a revision", &[], include_str!("etcdctl/get_at_a_revision.txt"));
}

#[test]
fn get_sorted() {
    compare("get sorted", &[], include_str!("etcdctl/get_sorted.txt"));
}

#[test]
fn get_filtered_by_revision() {
    compare("get filtered by revision", &[], include_str!("etcdctl/get_filtered_by_revision.txt"));
}

#[test]
fn del() {
    compare("del", &[], include_str!("etcdctl/del.txt"));
}

#[test]
fn txn() {
    compare("txn", &[], include_str!("etcdctl/txn.txt"));
}

#[test]
fn lease() {
    compare("lease", &[], include_str!("etcdctl/lease.txt"));
}

#[test]
fn lease_list() {
    compare("lease list", &[], include_str!("etcdctl/lease_list.txt"));
}

#[test]
fn compaction() {
    compare("compaction", &[], include_str!("etcdctl/compaction.txt"));
}

#[test]
fn compaction_of_an_empty_store() {
    compare(
        "compaction of an empty store",
        &[],
        include_str!("etcdctl/compaction_of_an_empty_store.txt"),
    );
    compare("compaction to nothing", &[], include_str!("etcdctl/compaction_to_nothing.txt"));
}

#[test]
fn endpoint() {
    compare("endpoint", &[], include_str!("etcdctl/endpoint.txt"));
}

#[test]
fn member_list() {
    compare("member list", &[], include_str!("etcdctl/member_list.txt"));
}

#[test]
fn alarm() {
    compare("alarm", &["--quota-backend-bytes=65536"], include_str!("etcdctl/alarm.txt"));
}

#[test]
fn watch() {
    compare(
        "watch",
        &["--watch-progress-notify-interval=200ms"],
        include_str!("etcdctl/watch.txt"),
    );
}

#[test]
fn lock() {
    compare("lock", &[], include_str!("etcdctl/lock.txt"));
}

/// What a performance check prints is figures; its verdict is that of the machine, which has other
/// things to do meanwhile.
#[test]
fn check_perf() {
    let Some(etcdctl) = program::peer("etcdctl, check perf", "etcdctl") else { return };
    let server = Server::start_new(&program::quorate(), &[]);
    let check = |words: &[&str]| {
        let mut command = Command::new(&etcdctl);
        let output = command.arg("--endpoints").arg(server.address()).args(words).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The bar that shows progress ends in a carriage return.
        let lines = text.lines().filter_map(|line| line.rsplit('\r').next());
        let verdicts = lines.filter(|line| line.starts_with("PASS") || line.starts_with("FAIL"));
        let verdicts: Vec<String> = verdicts.map(str::to_owned).collect();
        println!("{verdicts:#?}");
        let passed = verdicts.iter().all(|verdict| verdict.starts_with("PASS"));
        assert_eq!(output.status.success(), passed, "{text}");
        verdicts
    };
    let verdicts = check(&["check", "perf", "--load=s", "--auto-compact", "--auto-defrag"]);
    let starts = ["Throughput", "Slowest request took", "Stddev", ""];
    assert_eq!(verdicts.len(), starts.len(), "{verdicts:?}");
    for (verdict, start) in verdicts.iter().zip(starts) {
        assert!(verdict[4..].trim_start_matches(": ").starts_with(start), "{verdict}");
    }
    let verdicts = check(&["check", "datascale", "--load=s", "--auto-compact", "--auto-defrag"]);
    let expected = "PASS: Approximate system memory used : ";
    assert!(verdicts.iter().any(|verdict| verdict.starts_with(expected)), "{verdicts:?}");
    let left = Command::new(&etcdctl)
        .args(["--endpoints", &server.address(), "get", "", "--prefix", "--count-only"])
        .args(["-w", "fields"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&left.stdout).contains("\"Count\" : 0"), "{left:?}");
}
