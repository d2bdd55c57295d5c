//! How much of the disk the database takes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{CompactionRequest, PutRequest, RequestOp, TxnRequest};
use quorate_test_conformance::faults::files;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::program;
use quorate_test_support::server::Server;
use tempfile::TempDir;

const KEYS: usize = 4000;
const ROUNDS: usize = 24;
const PUTS_MAX: usize = 100;
const VALUE_BYTES: usize = 1000;

fn database_bytes(folder: &Path) -> u64 {
    // A file can go between the look at the directory and the look at the file.
    let of = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    files(folder, "redb").iter().map(of).sum()
}

fn txn(round: usize, first: usize) -> Bytes {
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
    TxnRequest { success, ..Default::default() }.encode_to_vec().into()
}

/// History is deleted all over the file. What is deleted can be used again at once, and nothing
/// keeps the pages of the state before.
#[test]
fn a_compaction_does_not_make_the_database_larger() {
    let home = TempDir::new().unwrap();
    let flags = ["--quota-backend-bytes=1073741824"];
    let mut server = Server::in_folder(&program::quorate(), home.path(), &flags);
    server.start();
    let folder = server.data_dir().join("member/db");
    for round in 0..ROUNDS {
        for first in (0..KEYS).step_by(PUTS_MAX) {
            call(&server, "/etcdserverpb.KV/Txn", txn(round, first));
        }
    }
    // Brings everything into the database.
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
    call(server, "/etcdserverpb.KV/Compact", request.encode_to_vec().into());
}

fn call(server: &Server, path: &str, message: Bytes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::open(&server.address()).await;
        let answer = connection.method(path, &[message]).await;
        assert_eq!(answer.code.as_deref(), Some("0"), "{answer:?}");
    });
}
