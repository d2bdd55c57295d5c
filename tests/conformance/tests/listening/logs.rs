//! A log output that is not read.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_test_support::certs::Pki;
use quorate_test_support::server::Server;
use quorate_test_support::{http, port, program, wait};
use rustix::fs::OFlags;

use crate::{PATIENCE, connect};

/// More lines than the pipe and the server's memory hold.
const REJECTED: usize = 12_000;
/// How long a stop may take; the server gives the log one second of it.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// A server whose log goes to a pipe, too; the pipe's read end; and the address of a TLS port.
fn piped(folder: &std::path::Path) -> (Server, File, String) {
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let reader = OpenOptions::new().read(true).custom_flags(flags).open(&pipe).unwrap();
    let pki = Pki::new(folder);
    let [port] = port::free();
    let address = format!("127.0.0.1:{port}");
    let flags = [
        format!("--cert-file={}", pki.path("server.crt").display()),
        format!("--key-file={}", pki.path("server.key").display()),
        format!("--listen-metrics-urls=https://{address}"),
        "--log-outputs=stdout,stderr".to_owned(),
        // At this level, each rejection is logged.
        "--log-level=debug".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let to_pipe = format!("exec \"$@\" 2>{}", pipe.display());
    let server =
        Server::new(&program::quorate(), &flags).with_launcher(&["bash", "-c", &to_pipe, "bash"]);
    (server, reader, address)
}

/// Reads from the pipe until `part` has arrived.
fn read_until(reader: &mut File, said: &mut String, part: &str) {
    wait::until(part, PATIENCE, || {
        let mut some = [0; 1 << 16];
        // Without pauses: a stopping server does not wait long for the log's reader.
        while let Ok(length @ 1..) = reader.read(&mut some) {
            said.push_str(&String::from_utf8_lossy(&some[..length]));
        }
        said.contains(part).then_some(())
    });
}

#[test]
fn an_unread_log_blocks_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, mut reader, secure) = piped(folder.path());
    server.start();
    for _ in 0..REJECTED {
        // Not a TLS hello. The server may have closed the connection already.
        connect(&secure).write_all(b"\x16\x03\x01\x00\x02no").ok();
    }
    assert!(http::get(&server.address(), "/version").is_some(), "clients are served");
    // Once the pipe is read again, the number of dropped lines is logged.
    let mut said = String::new();
    read_until(&mut reader, &mut said, "log lines were dropped");
    assert!(said.contains("rejected a connection"));
    // The last lines arrive.
    server.signal(rustix::process::Signal::TERM);
    read_until(&mut reader, &mut said, "\"stopped\"");
    server.wait_for_end();
}

#[test]
fn an_unread_log_does_not_delay_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _reader, secure) = piped(folder.path());
    server.start();
    for _ in 0..1000 {
        connect(&secure).write_all(b"\x16\x03\x01\x00\x02no").ok();
    }
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < STOPS_WITHIN, "{:?}", started.elapsed());
    // The other output has all lines.
    assert!(server.log().contains("\"stopped\""));
}
