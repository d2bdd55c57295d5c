//! Independent clients get the same answers from Quorate as from etcd, on one member and on three.
//!
//! The programs in `tests/conformance/clients` run the checks that their clients can do, and write
//! a line for each; `tests/conformance/clients/build.sh` says how. All use the same two clusters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clusters;
mod program;
mod table;

use std::path::Path;
use std::thread;

use clusters::Clusters;
use program::Program;
use quorate_test_support::program::{etcd, quorate};
use quorate_test_support::repository;
use table::Client;

/// The pauses of the programs.
const COMPACTION: &str = "compaction";
const AUTHENTICATION: &str = "authentication";

/// Runs the clients' checks on new clusters of `size` members; returns each client's lines.
fn run(server: &Path, size: usize, clients: &[&Client]) -> Vec<Vec<String>> {
    let clusters = Clusters::start(server, size);
    let mut programs: Vec<Program> =
        clients.iter().map(|client| Program::start(client, &clusters)).collect();
    programs.iter_mut().for_each(|program| program.run_to(COMPACTION));
    // The programs go on one after the other, because a compaction is for all keys.
    for program in &mut programs {
        program.go_on();
        program.run_to(AUTHENTICATION);
    }
    clusters.enable_authentication();
    programs.iter_mut().for_each(Program::go_on);
    let written = programs.into_iter().map(Program::finish).collect();
    clusters.finish();
    written
}

/// The mistakes in the lines of a client on Quorate, given its lines on etcd.
fn compare(client: &Client, [quorate, etcd]: [&[String]; 2]) -> Vec<String> {
    let done: Vec<&str> =
        quorate.iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    let mut wrong = Vec::new();
    if done != client.checks() {
        wrong.push(format!("{}: checks {done:?} instead of {:?}", client.name, client.checks()));
    }
    if quorate != etcd {
        let [quorate, etcd] = [quorate, etcd].map(|lines| lines.join("\n  "));
        wrong.push(format!("{} on Quorate:\n  {quorate}\non etcd:\n  {etcd}", client.name));
    }
    wrong
}

/// All clients have the same answers from both servers.
fn agree(size: usize) {
    let Some(etcd) = etcd("independent clients", "etcd-3.7") else { return };
    let clients = table::available();
    let [quorate, etcd] = thread::scope(|scope| {
        [quorate(), etcd]
            .map(|server| scope.spawn(move || run(&server, size, clients)))
            .map(|run| run.join().expect("all programs succeed"))
    });
    let mut wrong = Vec::new();
    for (place, client) in clients.iter().enumerate() {
        println!("{}:\n  {}", client.name, quorate[place].join("\n  "));
        wrong.extend(compare(client, [&quorate[place], &etcd[place]]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn clients_of_one_member_agree_with_etcd() {
    agree(1);
}

#[test]
fn clients_of_three_members_agree_with_etcd() {
    agree(3);
}

#[test]
fn every_client_has_a_row() {
    let table = repository().join("server/COMPATIBILITY.md");
    let text = std::fs::read_to_string(table).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<&str> = rows.filter_map(|row| Some(row.split_once('`')?.0)).collect();
    let missing: Vec<&str> = table::names().filter(|name| !rows.contains(name)).collect();
    assert!(missing.is_empty(), "no row in COMPATIBILITY.md: {missing:?}");
}
