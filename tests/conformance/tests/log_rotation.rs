//! A full log file is replaced by a new one, as by etcd: `--enable-log-rotation`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::call;
use quorate_test_support::server::Server;
use quorate_test_support::{http, program, wait};
use serde_json::Value;
use tempfile::TempDir;

/// Largest size of a log file: one MB, the least that can be set.
const FULL: usize = 1 << 20;
/// Room for the lines of a start, and more.
const ROOM: usize = 64 << 10;
/// How long a program may take to replace, compress and remove files.
const WITHIN: Duration = Duration::from_secs(30);
/// A time like those in the names of earlier files, long ago.
const LONG_AGO: &str = "2020-01-02T03-04-05.678";

/// A program that logs to `etcd.log` in a folder of its own.
struct Logged {
    folder: TempDir,
    server: Server,
}

impl Logged {
    fn new(program: &Path, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let flags = [
            &format!("--log-outputs=stderr,{}", folder.path().join("etcd.log").display()),
            "--enable-log-rotation",
            &format!("--log-rotation-config-json={settings}"),
        ];
        Self { server: Server::new(program, &flags), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Fills the log file up to a size; returns its content. Other users may read a new file.
    fn fill(&self, bytes: usize) -> String {
        let mut log = OpenOptions::new();
        let mut log =
            log.create(true).append(true).mode(0o644).open(self.path("etcd.log")).unwrap();
        let length = usize::try_from(log.metadata().unwrap().len()).unwrap();
        log.write_all(&vec![b'\n'; bytes - length]).unwrap();
        self.read("etcd.log")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path(name)).unwrap();
        let mut text = String::new();
        if name.ends_with(".gz") {
            GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        } else {
            (&bytes[..]).read_to_string(&mut text).unwrap();
        }
        text
    }

    /// The names of all files but `etcd.log`, in their order.
    fn earlier(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "etcd.log").collect();
        names.sort();
        names
    }

    /// Waits until there are these earlier files. `NEW` stands for a time.
    fn wait_for(&self, expected: &[&str]) -> Vec<String> {
        let mut names = Vec::new();
        let found = wait::within(WITHIN, || {
            names = self.earlier();
            let is_one = |(name, expected): (&String, &&str)| {
                let (start, end) = expected.split_once("NEW").unwrap_or((expected, ""));
                let time = name.strip_prefix(start).and_then(|name| name.strip_suffix(end));
                time.is_some_and(|time| time.is_empty() || time.len() == LONG_AGO.len())
            };
            let is_all = names.len() == expected.len();
            (is_all && names.iter().zip(expected).all(is_one)).then_some(())
        });
        assert!(found.is_some(), "{names:?} instead of {expected:?}\n{}", self.server.log_tail());
        names
    }

    /// Has the program write lines until it has replaced the file.
    fn talk(&self) {
        let address = self.server.address();
        // The program logs each failed check of its health.
        let before = self.earlier();
        let alarm = pb::AlarmRequest { action: 1, member_id: 5, alarm: 1 };
        call(&self.server, "/etcdserverpb.Maintenance/Alarm", &alarm).assert_ok();
        wait::until("the file is replaced", WITHIN, || {
            http::get(&address, "/health").unwrap();
            (self.earlier() != before).then_some(())
        });
    }
}

/// Quorate, and etcd if it can be built.
fn programs(suite: &str) -> impl Iterator<Item = PathBuf> {
    [program::quorate()].into_iter().chain(program::etcd(suite, "etcd-3.7"))
}

/// Asserts that all lines of a text are JSON with a message, except empty ones.
fn assert_whole(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
        assert!(line["msg"].is_string(), "{line}");
    }
}

#[test]
fn a_full_file_is_replaced() {
    for program in programs("rotation of logs") {
        let mut logged = Logged::new(&program, r#"{"maxsize": 1}"#);
        // A file that is full at the start is replaced at the first line.
        let before = logged.fill(FULL);
        logged.server.start();
        let names = logged.wait_for(&["etcd-NEW.log"]);
        assert_eq!(logged.read(&names[0]), before);
        // A file that is almost full at the start is replaced while the program runs.
        logged.server.stop();
        logged.fill(FULL - ROOM);
        logged.server.start();
        assert_eq!(logged.earlier(), names);
        logged.talk();
        let names = logged.wait_for(&["etcd-NEW.log", "etcd-NEW.log"]);
        let [earlier, now] = [&names[1], "etcd.log"].map(|name| logged.read(name));
        assert_eq!(logged.read(&names[0]), before);
        assert!((FULL - ROOM..=FULL).contains(&earlier.len()), "{}", earlier.len());
        assert!(now.len() < ROOM, "{}", now.len());
        assert_whole(&earlier);
        assert_whole(&now);
        for said in ["ready to serve client requests", "/health"] {
            assert!(earlier.contains(said), "{said}:\n{earlier}");
        }
        // The next file keeps the permissions.
        for name in [names[0].as_str(), &names[1], "etcd.log"] {
            let mode = fs::metadata(logged.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{name}");
        }
    }
}

#[test]
fn earlier_files_are_limited() {
    for program in programs("limits of earlier logs") {
        let mut logged = Logged::new(&program, r#"{"maxsize": 1, "maxbackups": 2}"#);
        let [one, other] = ["etcd-2020-01-02T03-04-05.678.log", "etcd-2021-01-02T03-04-05.678.log"];
        for name in [one, other, "etcd-other.log", "other-2020-01-02T03-04-05.678.log"] {
            fs::write(logged.path(name), name).unwrap();
        }
        logged.fill(FULL);
        logged.server.start();
        // The oldest file is one too many.
        let foreign = ["etcd-other.log", "other-2020-01-02T03-04-05.678.log"];
        let names = logged.wait_for(&[other, "etcd-NEW.log", foreign[0], foreign[1]]);
        logged.server.stop();
        logged.fill(FULL);
        logged.server.start();
        let names_now = logged.wait_for(&["etcd-NEW.log", "etcd-NEW.log", foreign[0], foreign[1]]);
        assert!(names_now.contains(&names[1]), "{names:?}, {names_now:?}");
    }
}

#[test]
fn old_files_are_removed() {
    for program in programs("age of earlier logs") {
        let mut logged = Logged::new(&program, r#"{"maxsize": 1, "maxage": 3}"#);
        let young = format!("etcd-{}-01-01T00-00-00.000.log", 9999);
        for name in [&format!("etcd-{LONG_AGO}.log"), &young] {
            // The time in the name counts.
            fs::write(logged.path(name), name).unwrap();
        }
        logged.server.start();
        logged.wait_for(&[&young]);
    }
}

#[test]
fn earlier_files_are_compressed() {
    for program in programs("compressed logs") {
        let mut logged = Logged::new(&program, r#"{"maxsize": 1, "compress": true}"#);
        let before = logged.fill(FULL);
        logged.server.start();
        let names = logged.wait_for(&["etcd-NEW.log.gz"]);
        assert_eq!(logged.read(&names[0]), before);
        assert_whole(&logged.read("etcd.log"));
    }
}

#[test]
fn settings_that_cannot_work_prevent_the_start() {
    for program in programs("settings of the rotation of logs") {
        let folder = TempDir::new().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let two = format!("{},{}", file("a"), file("b"));
        for (outputs, settings) in [
            ("stderr", "{}"),
            ("default", "{}"),
            (&two, "{}"),
            (&file("c"), "{"),
            (&file("c"), r#"{"maxsize": "1"}"#),
            (&file("c"), r#"{"maxsize": 1.5}"#),
            (&file("c"), r#"{"compress": 1}"#),
            (&file("c"), "[]"),
        ] {
            let flags = [
                &format!("--log-outputs={outputs}"),
                "--enable-log-rotation",
                &format!("--log-rotation-config-json={settings}"),
            ];
            let mut server = Server::new(&program, &flags);
            server.spawn();
            let status = server.wait_for_end();
            assert!(!status.success(), "{} {flags:?}", program.display());
        }
    }
}
