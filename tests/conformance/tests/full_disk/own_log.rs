//! A log on a disk of its own, which is watched by itself.

use std::fs;
use std::io::Write as _;

use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::raw::call;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::{program, wait};
use tempfile::TempDir;

use super::{Disk, MIB, NO_SPACE, SETTLED_WITHIN, disarm};

/// Size of the log's disk.
const DISK_MIB: usize = 64;

#[test]
fn a_full_disk_of_the_log_loses_no_write() {
    if !require::met("full disk of the log", &[Need::Root, Need::Program("mount")]) {
        return;
    }
    let home = TempDir::new().unwrap();
    let disk = Disk::new(home.path().join("disk"), DISK_MIB);
    let wal = disk.0.join("wal").display().to_string();
    let flag = format!("--wal-dir={wal}");
    let mut server = Server::in_folder(&program::quorate(), &home.path().join("server"), &[&flag]);
    server.start();
    let mut keys = Acknowledged::default();
    // More than the disk has: the log drops what the database has.
    assert_eq!(keys.write(&server, 4 * DISK_MIB * 2, MIB / 4), None, "{}", server.log_tail());
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let put = pb::PutRequest { key: "refused".into(), ..Default::default() };
    wait::until("the alarm", SETTLED_WITHIN, || {
        // Again each time: the log frees the space of what the database has.
        while file.write_all(&[0; 4096]).is_ok() {}
        let answer = call(&server, "/etcdserverpb.KV/Put", &put);
        (answer.message == NO_SPACE).then_some(())
    });
    let log = server.log();
    let warned = log.lines().find(|line| line.contains("the disk is nearly full"));
    assert!(warned.is_some_and(|line| line.contains(&wal)), "{warned:?}");
    assert_eq!(keys.missing(&server), None);
    server.kill();
    fs::remove_file(&filler).unwrap();
    server.start();
    disarm(&server);
    assert_eq!(keys.write(&server, 10, MIB / 4), None, "{}", server.log_tail());
    assert_eq!(keys.missing(&server), None);
}
