//! A log in a directory of its own: `--wal-dir`. No start takes a log that is elsewhere for an
//! empty one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::{error_line, files, start_refused};
use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program};
use tempfile::TempDir;

/// A server with its folder in a new home, and with its log in `wal` of that home.
struct Separated {
    server: Server,
    keys: Acknowledged,
    home: TempDir,
}

impl Separated {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let server = Server::in_folder(&program::quorate(), &home.path().join("server"), &[]);
        let mut separated = Self { server, keys: Acknowledged::default(), home };
        separated.give(Some("wal"));
        separated
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Sets the directory of the log, from the next start on.
    fn give(&mut self, name: Option<&str>) {
        let variable = name.map(|name| format!("ETCD_WAL_DIR={}", self.path(name).display()));
        match &variable {
            Some(variable) => self.server.set_launcher(&["env", variable]),
            None => self.server.set_launcher(&[]),
        }
    }

    /// Starts the server, which must have all keys, writes more, and stops it.
    fn use_it(&mut self) {
        self.server.start();
        assert_eq!(self.keys.missing(&self.server), None);
        assert_eq!(self.keys.write(&self.server, 20, 100), None);
        self.server.stop();
    }

    fn refused(&mut self, parts: &[&str]) {
        let said = start_refused(&mut self.server);
        assert_contains(&said, parts);
    }
}

#[test]
fn the_log_is_in_a_directory_of_its_own() {
    let mut separated = Separated::new();
    for _ in 0..2 {
        separated.use_it();
        separated.server.start();
        assert_eq!(separated.keys.write(&separated.server, 20, 100), None);
        separated.server.kill();
    }
    let wal = separated.path("wal");
    assert!(!files(&wal, "wal").is_empty());
    assert!(!separated.server.data_dir().join("member/wal").exists());
    assert_eq!(fs::metadata(&wal).unwrap().permissions().mode() & 0o777, 0o700);
    // The flag means the same.
    separated.give(None);
    let flag = format!("--wal-dir={}", wal.display());
    separated.server.add_flags(&[&flag]);
    separated.use_it();
}

#[test]
fn a_forgotten_flag_is_refused() {
    let mut separated = Separated::new();
    separated.use_it();
    let wal = separated.path("wal").display().to_string();
    let fix = format!("set --wal-dir={wal}");
    for given in [None, Some("other")] {
        separated.give(given);
        separated.refused(&["there is a write-ahead log of this member in", &fix]);
        assert!(!separated.path("other").exists());
    }
    // The disk of the log is not mounted.
    fs::rename(separated.path("wal"), separated.path("away")).unwrap();
    for given in [None, Some("wal")] {
        separated.give(given);
        separated.refused(&["is not in", &wal, "mount the log's disk"]);
    }
    fs::rename(separated.path("away"), separated.path("wal")).unwrap();
    separated.use_it();
}

#[test]
fn a_log_can_move() {
    let mut separated = Separated::new();
    separated.use_it();
    fs::rename(separated.path("wal"), separated.path("moved")).unwrap();
    separated.give(Some("moved"));
    separated.use_it();
    separated.give(Some("wal"));
    separated.refused(&["set --wal-dir=", "moved"]);
    // Back into the data directory, and out again.
    let inside = separated.server.data_dir().join("member/wal");
    fs::rename(separated.path("moved"), &inside).unwrap();
    separated.give(None);
    separated.use_it();
    separated.give(Some("wal"));
    separated.refused(&["start without --wal-dir", &inside.display().to_string()]);
    fs::rename(&inside, separated.path("wal")).unwrap();
    separated.use_it();
}

#[test]
fn a_log_of_another_member_is_refused() {
    let mut separated = Separated::new();
    separated.use_it();
    separated.server.start();
    let wal = separated.path("wal").display().to_string();
    let flag = format!("--wal-dir={wal}");
    let mut other =
        Server::in_folder(&program::quorate(), &separated.path("second"), &[&flag]).named("m2");
    // Not `start_refused`: the first start makes the data directory.
    let end = other.start_or_end();
    assert_eq!(end.and_then(|end| end.code()), Some(1));
    assert_contains(&error_line(&other), &["in use by another process", &wal]);
    separated.server.stop();
    assert_contains(&start_refused(&mut other), &["not of this member's write-ahead log", &wal]);
    // Nor does a new data directory take over a log.
    let data_dir = separated.server.data_dir();
    fs::rename(&data_dir, separated.path("away")).unwrap();
    let end = separated.server.start_or_end();
    assert_eq!(end.and_then(|end| end.code()), Some(1));
    fs::remove_dir_all(&data_dir).unwrap();
    fs::rename(separated.path("away"), &data_dir).unwrap();
    separated.use_it();
}
