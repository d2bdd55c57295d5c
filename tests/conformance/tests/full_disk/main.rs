//! A full disk fails a start or single requests, but does not end a running server; no acknowledged
//! write is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod image;
mod own_log;
mod scenarios;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use prost::Message as _;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::{error_line, exit_status, files};
use quorate_test_conformance::raw::{Answer, Connection, call};
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program, wait};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
/// etcd's refusal of writes that need space.
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";
/// How long a server may take to become idle after its start.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Clients that write large values concurrently.
const WRITERS: usize = 16;
/// The disk is idle if its usage was equal this many times in a row.
const SETTLED_LOOKS: usize = 100;

/// A small tmpfs, unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size_mib: usize) -> Self {
        fs::create_dir_all(&path).unwrap();
        let disk = Self(path);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size_mib}m,mode=700"), "tmpfs"]);
        disk
    }

    fn resize(&self, size_mib: usize) {
        self.mount(&["-o", &format!("remount,size={size_mib}m")]);
    }

    fn mount(&self, options: &[&str]) {
        let status = Command::new("mount").args(options).arg(&self.0).status().unwrap();
        assert!(status.success(), "mount {options:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status().unwrap();
        assert!(status.success(), "umount");
    }
}

/// A server whose data directory is a small tmpfs.
fn on_disk(home: &TempDir, size_mib: usize) -> Option<(Server, Disk)> {
    if !require::met("full disk", &[Need::Root, Need::Program("mount")]) {
        return None;
    }
    let server = Server::in_folder(&program::quorate(), &home.path().join("server"), &[]);
    let disk = Disk::new(server.data_dir(), size_mib);
    Some((server, disk))
}

/// Asserts that `said` has the error and the path.
fn names_the_disk(said: &str, path: &Path) {
    for part in ["No space left on device", path.to_str().unwrap()] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// Deactivates the alarm, repeatedly until the server accepts writes.
fn disarm(server: &Server) {
    let status = call(server, "/etcdserverpb.Maintenance/Status", &pb::StatusRequest {});
    let status = status.decode::<pb::StatusResponse>();
    let member_id = status.header.unwrap().member_id;
    let disarm = pb::AlarmRequest { action: 2, member_id, alarm: 1 };
    let put = pb::PutRequest { key: "disarmed".into(), ..Default::default() };
    wait::until("a put after the alarm was disarmed", SETTLED_WITHIN, || {
        call(server, "/etcdserverpb.Maintenance/Alarm", &disarm);
        let answer = call(server, "/etcdserverpb.KV/Put", &put);
        (answer.code.as_deref() == Some("0")).then_some(())
    });
}

/// Disks that the log and the database outgrow.
#[test]
fn a_disk_that_fills_up_loses_no_write() {
    let home = TempDir::new().unwrap();
    let Some((mut server, disk)) = on_disk(&home, 40) else { return };
    server.start();
    let mut keys = Acknowledged::default();
    for (round, next_mib) in [240, 640].into_iter().enumerate() {
        let refused = keys.write(&server, 2000, MIB / 4);
        let refused = refused.unwrap_or_else(|| panic!("the disk never filled up, {round}"));
        assert_eq!(refused.message, NO_SPACE, "round {round}: {refused:?} {}", server.log_tail());
        assert_eq!(keys.missing(&server), None, "round {round}: {}", server.log_tail());
        // Killed or stopped, it starts again.
        if round == 0 {
            server.kill();
        } else {
            server.stop();
        }
        server.start();
        assert_eq!(keys.missing(&server), None, "round {round}: {}", server.log_tail());
        disk.resize(next_mib);
        disarm(&server);
    }
    assert!(keys.len() > 100, "{} writes", keys.len());
}

/// Puts values of 1 MiB to new keys until a put is not acknowledged. Returns the number of
/// acknowledged puts, and the answer to the failed one.
async fn write_large(address: String, writer: usize) -> (i64, Answer) {
    let connection = Connection::open(&address).await;
    let mut written = 0;
    loop {
        let key = format!("large/{writer}/{written}").into();
        let put = pb::PutRequest { key, value: vec![7; MIB].into(), ..Default::default() };
        let answer = connection.method("/etcdserverpb.KV/Put", &[put.encode_to_vec().into()]).await;
        if answer.code.as_deref() != Some("0") {
            return (written, answer);
        }
        written += 1;
    }
}

/// Many clients fill the disk faster than the server checks its free space.
#[test]
fn a_disk_filled_by_many_clients_loses_no_write() {
    let home = TempDir::new().unwrap();
    let Some((mut server, _disk)) = on_disk(&home, 96) else { return };
    server.start();
    let address = server.address();
    let ends = block_on(async {
        let writers = (0..WRITERS).map(|writer| write_large(address.clone(), writer));
        writers.collect::<tokio::task::JoinSet<_>>().join_all().await
    });
    let mut written = 0;
    for (acknowledged, refused) in ends {
        assert_eq!(refused.message, NO_SPACE, "{refused:?} {}", server.log_tail());
        written += acknowledged;
    }
    assert!(written > 0);
    let all = pb::RangeRequest {
        key: "large/".into(),
        range_end: "large0".into(),
        count_only: true,
        ..Default::default()
    };
    let answer = call(&server, "/etcdserverpb.KV/Range", &all);
    let response = answer.decode::<pb::RangeResponse>();
    assert_eq!(response.count, written, "{}", server.log_tail());
}

#[test]
fn a_first_start_on_a_full_disk_is_refused() {
    let home = TempDir::new().unwrap();
    let Some((mut server, disk)) = on_disk(&home, 1) else { return };
    let end = server.start_or_end();
    let line = error_line(&server);
    assert_eq!(end.and_then(|end| end.code()), Some(exit_status(&line)), "{line}");
    assert!(line.contains("\"reason\":\"disk-full\""), "{line}");
    names_the_disk(&line, &server.data_dir());
    disk.resize(64);
    server.start();
    let mut keys = Acknowledged::default();
    assert_eq!(keys.write(&server, 10, 1000), None);
}

fn used_mib(path: &Path) -> usize {
    let said = Command::new("du").arg("-sm").arg(path).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.split_whitespace().next().unwrap().parse().unwrap()
}

/// A defragmentation needs room for a copy. Without room it fails, and the server continues.
#[test]
fn a_defragmentation_without_space_fails_alone() {
    let home = TempDir::new().unwrap();
    let Some((mut server, disk)) = on_disk(&home, 128) else { return };
    server.start();
    let mut keys = Acknowledged::default();
    assert_eq!(keys.write(&server, 24, MIB), None);
    server.stop();
    server.start();
    // Flushes everything to the database, so that nothing else needs the remaining room.
    let compact = pb::CompactionRequest { revision: 2, physical: true };
    let answer = call(&server, "/etcdserverpb.KV/Compact", &compact);
    answer.assert_ok();
    let mut used = 0;
    let mut looks = 0;
    wait::until("an idle disk", SETTLED_WITHIN, || {
        let now = used_mib(&server.data_dir());
        looks = if now == used { looks + 1 } else { 0 };
        used = now;
        (looks == SETTLED_LOOKS).then_some(())
    });
    disk.resize(used + 8);
    let answer = call(&server, "/etcdserverpb.Maintenance/Defragment", &pb::DefragmentRequest {});
    assert_eq!(answer.code.as_deref(), Some("2"), "{answer:?}");
    assert!(answer.message.contains("No space left on device"), "{answer:?}");
    assert_eq!(keys.missing(&server), None);
    assert_eq!(keys.write(&server, 10, 1000), None);
    let databases = files(&server.data_dir().join("member/db"), "redb");
    assert_eq!(databases.len(), 1, "the copy is left: {databases:?}");
    let mode = fs::metadata(&databases[0]).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}
