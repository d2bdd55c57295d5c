//! The whole table, on both ports and as certificates of called members, with Quorate and with
//! etcd.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_test_support::{assert_contains, program, wait};

use crate::Table;

/// How long a line may take to reach the log.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn quorate_accepts_the_client_certificates_that_go_accepts() {
    let Some(table) = Table::make("certificates of clients") else { return };
    let mut server = table.server(&program::quorate());
    // At this level, each refusal is logged.
    server.add_flags(&["--log-level=debug"]);
    server.start();
    let folder = table.path("").display().to_string();
    let said = table.run(&["show", &folder, &server.address()]);
    table.assert_as_in_go("the port for clients", &said, 0, true);
    let said = table.run(&["show", &folder, &server.peer_address()]);
    table.assert_as_in_go("the port for members", &said, 0, true);
    // For each refused certificate, the log has its subject, the reason and a remedy.
    for parts in [
        ["CN=root-no-authority", "it is not a CA certificate", "CA:TRUE"],
        ["CN=root-usage-server", "clientAuth is not one of them", "issue CN=root-usage-server"],
        ["CN=root-unknown", "is not trusted", "--peer-trusted-ca-file"],
        ["CN=root-unknown", "is not trusted", "--trusted-ca-file"],
        ["CN=leaf-expired", "it expired", "renew it"],
        ["CN=rsa-1024", "1024 bits", "issue it for another key"],
    ] {
        let says = |line: &str| parts.iter().all(|part| line.contains(part));
        // A thread of its own writes the log.
        let line = wait::within(LOGGED_WITHIN, || server.log().lines().any(says).then_some(()));
        assert!(line.is_some(), "no line says {parts:?}:\n{}", server.log());
    }
    assert_contains(
        &server.log(),
        &["refused a certificate", "\"subject\"", "\"reason\"", "\"fix\""],
    );
}

#[test]
fn etcd_accepts_the_client_certificates_that_go_accepts() {
    let Some(etcd) = program::etcd("certificates of etcd's clients", "etcd-3.7") else { return };
    let Some(table) = Table::make("certificates of etcd's clients") else { return };
    let mut server = table.server(&etcd);
    server.start();
    let folder = table.path("").display().to_string();
    for address in [server.address(), server.peer_address()] {
        let said = table.run(&["show", &folder, &address]);
        table.assert_as_in_go("etcd", &said, 0, false);
    }
}

/// Has a server connect to one member per case, and returns what it did with their certificates.
fn calls(table: &Table, program: &std::path::Path) -> String {
    let mut members = Command::new(&table.program)
        .args(["serve", table.path("").to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(members.stdout.take().unwrap());
    let mut listed = Vec::new();
    loop {
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let Some((name, port)) = line.trim_end().split_once('\t') else { break };
        listed.push(format!("{name}=https://127.0.0.1:{port}"));
    }
    let mut server = table.server(program);
    listed.push(format!("{}={}", server.name(), server.peer_url()));
    server.set_initial_cluster(&[&format!("--initial-cluster={}", listed.join(","))]);
    server.spawn();
    let mut found = String::new();
    said.read_to_string(&mut found).unwrap();
    assert!(members.wait().unwrap().success());
    server.kill();
    found
}

#[test]
fn quorate_accepts_the_peer_certificates_that_go_accepts() {
    let Some(table) = Table::make("certificates of members") else { return };
    let said = calls(&table, &program::quorate());
    table.assert_as_in_go("calls of members", &said, 1, true);
}

#[test]
fn etcd_accepts_the_peer_certificates_that_go_accepts() {
    let Some(etcd) = program::etcd("certificates of etcd's members", "etcd-3.7") else { return };
    let Some(table) = Table::make("certificates of etcd's members") else { return };
    let said = calls(&table, &etcd);
    table.assert_as_in_go("etcd's calls of members", &said, 1, false);
}
