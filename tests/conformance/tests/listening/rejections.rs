//! Connections that are rejected before their first request.

use std::io::Write as _;
use std::time::Instant;

use quorate_test_support::certs::Pki;
use quorate_test_support::server::Server;
use quorate_test_support::{port, program, wait};

use crate::{PATIENCE, connect};

/// Rejected connections at first.
const REJECTED: usize = 100;
/// The message of a rejection, and its field with the number of those that were not logged before.
const MESSAGE: &str = "rejected a connection";
const OTHERS: &str = "\"others\":";

/// The log lines about rejections, and the number of rejections that they stand for.
fn rejections(log: &str) -> (usize, usize) {
    let lines = log.lines().filter(|line| line.contains(MESSAGE));
    let others = |line: &str| -> Option<usize> {
        let (_, rest) = line.split_once(OTHERS)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let logged: Vec<usize> = lines.map(|line| 1 + others(line).unwrap()).collect();
    (logged.len(), logged.iter().sum())
}

/// However many connections are rejected, at most one line a second says so. It has the reason, and
/// the number of the others.
#[test]
fn rejections_do_not_flood_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let [port] = port::free();
    let address = format!("127.0.0.1:{port}");
    let flags = [
        format!("--cert-file={}", pki.path("server.crt").display()),
        format!("--key-file={}", pki.path("server.key").display()),
        format!("--listen-metrics-urls=https://{address}"),
    ];
    let server = Server::start_new(&program::quorate(), &flags.each_ref().map(String::as_str));
    let begun = Instant::now();
    let mut sent = 0;
    let mut reject = || {
        // Not a TLS hello. The server may have closed the connection already.
        connect(&address).write_all(b"\x16\x03\x01\x00\x02no").ok();
        sent += 1;
    };
    (0..REJECTED).for_each(|_| reject());
    wait::until("all rejections are counted", PATIENCE, || {
        reject();
        let (lines, rejected) = rejections(&server.log());
        let lines_max = 1 + begun.elapsed().as_secs();
        assert!(lines as u64 <= lines_max, "{lines} lines in {:?}", begun.elapsed());
        (rejected >= REJECTED).then_some(())
    });
    let log = server.log();
    let line = log.lines().find(|line| line.contains(MESSAGE)).unwrap();
    assert!(line.contains("\"error\":") && line.contains("\"warn\""), "{line}");
}
