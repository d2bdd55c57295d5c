//! Disk usage of the database.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use prost::Message;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, PutRequest, RequestOp, StatusRequest,
    StatusResponse, TxnRequest,
};
use quorate_test_conformance::data_dir::files;
use quorate_test_conformance::raw::{self, Answer};
use quorate_test_support::server::Server;
use quorate_test_support::{program, wait};
use tempfile::TempDir;

const KEYS: usize = 4000;
const ROUNDS: usize = 24;
const PUTS_MAX: usize = 100;
const VALUE_BYTES: usize = 1000;

fn database_bytes(folder: &Path) -> u64 {
    // A file can be deleted between the listing and the look at it.
    let of = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    files(folder, "redb").iter().map(of).sum()
}

fn txn(round: usize, first: usize) -> TxnRequest {
    let put = |key: usize| {
        let mut value = vec![b'v'; VALUE_BYTES];
        value[..8].copy_from_slice(&(round * KEYS + key).to_le_bytes());
        let key = format!("key/{key:06}");
        RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: key.into(),
                value: value.into(),
                ..Default::default()
            })),
        }
    };
    let success = (first..first + PUTS_MAX).map(put).collect();
    TxnRequest { success, ..Default::default() }
}

/// Allowed beside twice the bytes in use. The server copies a file only if it has more than 48 MiB
/// of free space.
const BESIDE: u64 = 64 << 20;
/// Keys that each round overwrites, in transactions.
const MANY_KEYS: usize = 40_000;
const WRITERS: usize = 4;
/// How long the server may take to shrink the file by itself.
const SMALLER_WITHIN: Duration = Duration::from_secs(60);

/// Bytes of the database that are in use.
fn in_use(server: &Server) -> u64 {
    let answer = call(server, "/etcdserverpb.Maintenance/Status", &StatusRequest {});
    let status = answer.decode::<StatusResponse>();
    u64::try_from(status.db_size_in_use).unwrap()
}

/// Writes all keys in a round.
fn write_all(server: &Server, round: usize) {
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for first in (0..MANY_KEYS).step_by(PUTS_MAX).skip(writer).step_by(WRITERS) {
                    call(server, "/etcdserverpb.KV/Txn", &txn(round, first));
                }
            });
        }
    });
}

/// The largest size of a database file on the disk during `work`.
fn most_while(folder: &Path, work: impl FnOnce() + Send) -> u64 {
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        let mut most = 0;
        while !worker.is_finished() {
            most = most.max(largest(folder));
            thread::yield_now();
        }
        worker.join().unwrap();
        most.max(largest(folder))
    })
}

/// The size of the larger file: the database, or a copy of it in progress.
fn largest(folder: &Path) -> u64 {
    let of = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    files(folder, "redb").iter().map(of).max().unwrap_or(0)
}

/// During writes, a deletion, compactions and a defragmentation: replaced data is not kept for
/// long, and free space in the file is given back.
#[test]
fn the_database_stays_below_twice_the_bytes_in_use() {
    let home = TempDir::new().unwrap();
    let flags = ["--quota-backend-bytes=2147483648"];
    let mut server = Server::in_folder(&program::quorate(), home.path(), &flags);
    server.start();
    let folder = server.data_dir().join("member/db");
    let mut revision = 1;
    let check = |what: &str, work: &(dyn Fn() + Sync)| {
        let before = in_use(&server);
        let most = most_while(&folder, work);
        let now = in_use(&server);
        let bound = 2 * before.max(now) + BESIDE;
        assert!(most < bound, "{what}: {most} bytes, {before} in use before and {now} now");
        // An idle server gives free space back.
        wait::until(&format!("a smaller file after {what}"), SMALLER_WITHIN, || {
            (database_bytes(&folder) < 2 * in_use(&server) + BESIDE).then_some(())
        });
    };
    for round in 0..3 {
        check("writing", &|| write_all(&server, round));
        revision += MANY_KEYS / PUTS_MAX;
    }
    check("a compaction", &|| compact(&server, revision));
    let delete = DeleteRangeRequest { key: "key".into(), range_end: "l".into(), prev_kv: false };
    check("a deletion", &|| drop(call(&server, "/etcdserverpb.KV/DeleteRange", &delete)));
    revision += 1;
    check("a compaction of everything", &|| compact(&server, revision));
    check("a defragmentation", &|| {
        drop(call(&server, "/etcdserverpb.Maintenance/Defragment", &DefragmentRequest {}));
    });
}

/// A compaction deletes versions all over the file. The freed pages are reusable at once; no older
/// state of the database keeps them.
#[test]
fn a_compaction_does_not_grow_the_database() {
    let home = TempDir::new().unwrap();
    let flags = ["--quota-backend-bytes=1073741824"];
    let mut server = Server::in_folder(&program::quorate(), home.path(), &flags);
    server.start();
    let folder = server.data_dir().join("member/db");
    for round in 0..ROUNDS {
        for first in (0..KEYS).step_by(PUTS_MAX) {
            call(&server, "/etcdserverpb.KV/Txn", &txn(round, first));
        }
    }
    // Flushes everything to the database.
    compact(&server, 2);
    let before = database_bytes(&folder);
    let most = thread::scope(|scope| {
        let compaction = scope.spawn(|| {
            let last = ROUNDS * KEYS / PUTS_MAX;
            for part in 1..=4 {
                compact(&server, 1 + last * part / 4);
            }
        });
        let mut most = before;
        while !compaction.is_finished() {
            most = most.max(database_bytes(&folder));
            thread::yield_now();
        }
        compaction.join().unwrap();
        most.max(database_bytes(&folder))
    });
    assert!(most < before + before / 2, "{before} bytes before the compaction, {most} meanwhile");
}

fn compact(server: &Server, revision: usize) {
    let revision = i64::try_from(revision).unwrap();
    let request = CompactionRequest { revision, physical: true };
    call(server, "/etcdserverpb.KV/Compact", &request);
}

fn call(server: &Server, path: &str, message: &impl Message) -> Answer {
    let answer = raw::call(server, path, message);
    answer.assert_ok();
    answer
}
