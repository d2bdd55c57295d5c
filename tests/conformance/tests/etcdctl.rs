//! etcdctl's output with Quorate equals that with etcd: on one member, and on a follower of three,
//! also while the other follower is killed repeatedly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quorate_test_conformance::etcdctl::Comparison;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::follower_cluster::FollowerCluster;
use quorate_test_support::program;
use quorate_test_support::server::Server;

/// Interval of the kills. Most scripts take little longer, so the first kill is at their start.
const KILLED_EVERY: Duration = Duration::from_secs(1);
/// Interval of the kills during the performance check, which takes more than a minute.
const KILLED_EVERY_IN_LONG_CHECK: Duration = Duration::from_secs(20);

/// Runs a script against one member of each server, and compares.
fn compare(name: &str, flags: &[&str], script: &str) {
    check(Comparison::start(&format!("etcdctl, {name}"), flags), script);
}

/// Runs a script against a follower of three members of each server, and compares.
fn compare_followers(name: &str, flags: &[&str], script: &str, killed_every: Option<Duration>) {
    let suite = format!("etcdctl on a follower, {name}");
    check(Comparison::start_clusters(&suite, flags, killed_every), script);
}

fn check(comparison: Option<Comparison>, script: &str) {
    if let Some(mut comparison) = comparison {
        comparison.run(script);
        comparison.finish();
    }
}

/// Makes three tests of each script, with the servers' flags for it: on one member, on a follower
/// of three, and on a follower while another one is killed.
macro_rules! scripts {
    ($($name:ident $flags:expr,)*) => {
        $(
            #[test]
            fn $name() {
                let script = include_str!(concat!("etcdctl/", stringify!($name), ".txt"));
                compare(stringify!($name), &$flags, script);
            }
        )*

        mod on_a_follower {
            $(
                #[test]
                fn $name() {
                    let script = include_str!(concat!("etcdctl/", stringify!($name), ".txt"));
                    super::compare_followers(stringify!($name), &$flags, script, None);
                }
            )*
        }

        mod on_a_follower_while_the_other_is_killed {
            $(
                #[test]
                fn $name() {
                    let script = include_str!(concat!("etcdctl/", stringify!($name), ".txt"));
                    let every = Some(super::KILLED_EVERY);
                    super::compare_followers(stringify!($name), &$flags, script, every);
                }
            )*
        }
    };
}

scripts! {
    put [],
    get [],
    get_at_a_revision [],
    get_sorted [],
    get_filtered_by_revision [],
    del [],
    txn [],
    lease [],
    lease_list [],
    compaction [],
    compaction_of_an_empty_store [],
    compaction_to_nothing [],
    endpoint [],
    member_list [],
    alarm ["--quota-backend-bytes=65536"],
    watch ["--watch-progress-notify-interval=200ms"],
    lock [],
    users [],
    auth [],
    roles [],
}

#[test]
fn check_perf_reports_on_one_member() {
    let Some(etcdctl) = program::etcd("etcdctl, check perf", "etcdctl") else { return };
    let server = Server::start_new(&program::quorate(), &[]);
    check_performance(&etcdctl, &server.address());
}

#[test]
fn check_perf_reports_on_a_follower_while_the_other_is_killed() {
    let Some(etcdctl) = program::etcd("etcdctl, check perf", "etcdctl") else { return };
    let cluster = Cluster::start_new_in_turn(&program::quorate(), 3, &[]);
    let cluster = FollowerCluster::new(cluster).with_kills(Some(KILLED_EVERY_IN_LONG_CHECK));
    check_performance(&etcdctl, &cluster.addresses()[0]);
    cluster.finish();
}

/// Checks the form of the output only: figures and verdicts depend on the machine, which runs other
/// tests meanwhile.
fn check_performance(etcdctl: &Path, address: &str) {
    let check = |words: &[&str]| {
        let mut command = Command::new(etcdctl);
        let output = command.arg("--endpoints").arg(address).args(words).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The progress bar ends in a carriage return.
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
    let left = Command::new(etcdctl)
        .args(["--endpoints", address, "get", "", "--prefix", "--count-only"])
        .args(["-w", "fields"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&left.stdout).contains("\"Count\" : 0"), "{left:?}");
}
