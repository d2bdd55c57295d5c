//! `server/COMPATIBILITY.md` has a row for everything that etcd 3.7 has: RPCs, flags, HTTP paths,
//! metrics, and commands of its tools. A row that promises something has a test, and what it names
//! is there. `tests/tidy` checks that the tests exist.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod etcd;
mod table;

use std::collections::BTreeSet;

use quorate_proto::etcdserverpb::RangeRequest;
use quorate_test_conformance::raw::call;
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::{http, program, repository};
use table::Table;

/// The sections of the table.
const RPCS: &str = "RPCs";
const FLAGS: &str = "Flags";
const PATHS: &str = "HTTP paths";
const METRICS: &str = "Metrics";
const ETCD: &str = "Commands of etcd";
const ETCDCTL: &str = "Commands of etcdctl";
const ETCDUTL: &str = "Commands of etcdutl";

fn read() -> Table {
    let text = std::fs::read_to_string(repository().join("server/COMPATIBILITY.md")).unwrap();
    Table::parse(&text)
}

fn check(table: &Table, section: &str, names: &BTreeSet<String>) {
    let broken = table.broken(section, names);
    assert!(broken.is_empty(), "{section}: {} rows:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_rpc_has_a_row() {
    check(&read(), RPCS, &etcd::rpcs());
}

#[test]
fn every_flag_has_a_row() {
    let Some(etcd) = program::etcd("the flags of etcd", "etcd-3.7") else { return };
    check(&read(), FLAGS, &etcd::flags(&etcd));
    check(&read(), ETCD, &etcd::commands_of_etcd(&etcd));
}

#[test]
fn every_path_has_a_row() {
    let Some(_) = program::etcd("the HTTP paths of etcd", "etcd-3.7") else { return };
    check(&read(), PATHS, &etcd::paths());
}

#[test]
fn every_command_has_a_row() {
    for (section, name) in [(ETCDCTL, "etcdctl"), (ETCDUTL, "etcdutl")] {
        let Some(tool) = program::etcd("the commands of etcd's tools", name) else { return };
        check(&read(), section, &etcd::commands(&tool));
    }
}

#[test]
fn every_metric_has_a_row_and_what_rows_promise_is_served() {
    let Some(pair) = ServerPair::start("the metrics of etcd", &[]) else { return };
    let table = read();
    let pages = [&pair.quorate, &pair.etcd].map(|server| {
        call(
            server,
            "/etcdserverpb.KV/Range",
            &RangeRequest { key: "k".into(), ..Default::default() },
        );
        http::get(&server.address(), "/metrics").unwrap()
    });
    let [ours, theirs] = pages.map(|page| etcd::metrics(&page));
    check(&table, METRICS, &theirs);
    let promised = |section: &str| table.rows(section).filter(|(_, row)| row.is_served());
    for (name, _) in promised(METRICS) {
        assert!(ours.contains(name), "{name} is not served");
    }
    for (rpc, _) in promised(RPCS).filter(|(rpc, _)| !rpc.ends_with("Defragment")) {
        let answer = call(&pair.quorate, &format!("/{rpc}"), &RangeRequest::default());
        assert!(!answer.message.starts_with("unknown "), "{rpc}: {answer:?}");
    }
    for (path, _) in promised(PATHS).filter(|(path, _)| !path.starts_with("/v3/")) {
        let (head, _) = http::ask(&pair.quorate.address(), "GET", path).unwrap();
        assert_ne!(head.split_whitespace().nth(1), Some("404"), "{path} is not served");
    }
}

#[test]
fn rows_that_are_missing_or_wrong_are_found() {
    let names: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
    let good = "## S\n| `a` | same | | `tests/x.rs::y` |\n| `b` | not yet | Why. | |\n";
    assert_eq!(Table::parse(good).broken("S", &names), [""; 0]);
    for (text, expected) in [
        ("## S\n| `a` | same | | `tests/x.rs::y` |\n", "b: no row"),
        ("## T\n", "a: no row"),
        (&good.replace("`b`", "`c`"), "c: etcd does not have it"),
        (&good.replace("`tests/x.rs::y`", ""), "a: no test"),
        (&good.replace("same", "fine"), "a: no such state: fine"),
        (&good.replace("same", "different"), "a: no reason"),
        (&good.replace("Why.", ""), "b: no reason"),
    ] {
        let broken = Table::parse(text).broken("S", &names);
        assert!(broken.iter().any(|line| line == expected), "{expected:?}: {broken:?}");
    }
}
