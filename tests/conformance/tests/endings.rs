//! The reasons for which a process ends: each has a code in the last line of the log, and an exit
//! status. `full_disk` has the tests of a full disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use quorate_test_conformance::data_dir::{EXIT_STATUSES, files};
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// A pod's message is the end of its log, at most this many bytes of it. Kubernetes shows it for a
/// container that ended with a status other than 0.
const MESSAGE_BYTES: usize = 2048;

/// Waits until a server ends; asserts that its last line has the reason and that its exit status is
/// that of the reason. `None` for an end without a reason.
#[track_caller]
fn assert_ends(server: &mut Server, reason: Option<&str>) {
    let end = server.wait_for_end();
    let log = server.log_of_run();
    let status = reason.map_or(1, |reason| {
        EXIT_STATUSES.iter().find(|(code, _)| *code == reason).expect("it is a reason").1
    });
    assert_eq!(end.code(), Some(status), "{log}");
    let message = &log[log.floor_char_boundary(log.len().saturating_sub(MESSAGE_BYTES))..];
    let last = message.strip_suffix('\n').unwrap().lines().next_back().unwrap();
    assert_eq!(code(last), reason, "{log}");
    let level = if last.starts_with('{') { "\"level\":\"error\"" } else { "\tERROR\t" };
    assert!(last.contains(level) && last.contains("cannot continue: "), "{log}");
}

/// The code in the last line of a log, found as `docs/endings.md` says.
fn code(line: &str) -> Option<&str> {
    let rest = line.strip_suffix("\"}")?;
    Some(rest.rsplit_once("\"reason\":\"")?.1)
}

fn refused(server: &mut Server, reason: Option<&str>) {
    server.spawn();
    assert_ends(server, reason);
}

fn cluster() -> Cluster {
    Cluster::start_new(&program::quorate(), 3, &[])
}

/// A server that has run once.
fn used(home: &Path) -> Server {
    let mut server = Server::in_folder(&program::quorate(), home, &[]);
    server.start();
    server.stop();
    server
}

/// Changes a byte of a file.
fn damage(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

#[test]
fn a_removed_member_says_so_with_and_without_its_data() {
    let mut cluster = cluster();
    cluster.remove(0, 2);
    assert_ends(&mut cluster.members[2], Some("removed"));
    refused(&mut cluster.members[2], Some("removed"));
    fs::remove_dir_all(cluster.members[2].data_dir()).unwrap();
    refused(&mut cluster.members[2], Some("removed"));
}

#[test]
fn an_empty_directory_under_a_known_member_is_other_data() {
    let mut cluster = cluster();
    cluster.members[2].kill();
    let data = cluster.members[2].data_dir();
    fs::remove_dir_all(&data).unwrap();
    refused(&mut cluster.members[2], Some("other-data"));
    let listed = format!("--initial-cluster={}", cluster.initial_cluster());
    cluster.members[2].set_initial_cluster(&[&listed, "--initial-cluster-state=existing"]);
    refused(&mut cluster.members[2], Some("other-data"));
}

#[test]
fn an_older_copy_is_other_data() {
    let mut cluster = cluster();
    let (leader, _) = cluster.leader();
    let place = (leader + 1) % 3;
    cluster.members[place].stop();
    let home = TempDir::new().unwrap();
    let data = cluster.members[place].data_dir();
    let copy = home.path().join("copy");
    let copied = Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    cluster.members[place].start();
    cluster.put(place, "key", "value");
    assert_eq!(cluster.get(place, "key"), Some("value".to_owned()));
    cluster.members[place].kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&copy, &data).unwrap();
    refused(&mut cluster.members[place], Some("other-data"));
}

#[test]
fn a_founder_of_another_cluster_is_other_data() {
    let mut cluster = cluster();
    let stranger = &mut cluster.members[2];
    stranger.kill();
    fs::remove_dir_all(stranger.data_dir()).unwrap();
    stranger.add_flags(&["--initial-cluster-token=other"]);
    refused(stranger, Some("other-data"));
}

/// A used data directory; starts servers on it that must find it damaged.
struct Damaged {
    home: TempDir,
    flags: &'static [&'static str],
}

impl Damaged {
    fn refused(&self) {
        let folder = self.home.path();
        let mut server = Server::in_folder(&program::quorate(), folder, self.flags);
        refused(&mut server, Some("damaged"));
    }

    fn refused_with(&self, path: &Path, offset: u64) {
        damage(path, offset);
        self.refused();
        // Repairs it.
        damage(path, offset);
    }
}

#[test]
fn damaged_data_are_damaged_in_both_formats_of_the_log() {
    for flags in [&[][..], &["--log-format=console", "--log-level=fatal"]] {
        let home = TempDir::new().unwrap();
        let member = used(home.path()).data_dir().join("member");
        let data = Damaged { home, flags };
        data.refused_with(&member.join("IDENTITY"), 40);
        data.refused_with(&files(&member.join("wal"), "wal")[0], 100);
        data.refused_with(&files(&member.join("db"), "redb")[0], 0);
        fs::remove_dir_all(member.join("wal")).unwrap();
        data.refused();
    }
}

#[test]
fn a_later_format_is_newer() {
    let home = TempDir::new().unwrap();
    let mut server = used(home.path());
    let path = server.data_dir().join("member/IDENTITY");
    let text = fs::read_to_string(&path).unwrap();
    let (body, _) = text.rsplit_once("crc ").unwrap();
    let later = body.replace("format 1\n", "format 999\n");
    assert_ne!(later, body);
    let crc = crc32c::crc32c(later.as_bytes());
    fs::write(&path, format!("{later}crc {crc:08x}\n")).unwrap();
    refused(&mut server, Some("newer-format"));
}

#[test]
fn another_failure_has_no_reason() {
    let home = TempDir::new().unwrap();
    let mut server = used(home.path());
    server.start();
    let data = server.data_dir().display().to_string();
    let flags = ["--data-dir", data.as_str()];
    let mut second = Server::in_folder(&program::quorate(), &home.path().join("second"), &flags);
    refused(&mut second, None);
}
