//! A log whose last write reached the disk only in part.

use std::fs;

use quorate_proto::etcdserverpb::{RangeRequest, RangeResponse};
use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::files;
use quorate_test_conformance::raw;
use quorate_test_support::program;
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// Disks write a sector atomically.
const SECTOR: usize = 512;
/// Bytes of a group's header without its bitmap.
const HEADER: usize = 32;

/// A header that crosses a sector boundary. Its first part was not written.
#[test]
fn a_group_with_a_torn_header_is_dropped() {
    let home = TempDir::new().unwrap();
    let mut server = Server::in_folder(&program::quorate(), home.path(), &[]);
    server.start();
    let mut found: Vec<(usize, Vec<u8>, usize)> = Vec::new();
    let mut keys = Acknowledged::default();
    let segment = || files(&server.data_dir().join("member/wal"), "wal").remove(0);
    let mut before = fs::read(segment()).unwrap();
    for round in 0..600 {
        assert_eq!(keys.write(&server, 1, 1 + round % 40 * 8), None);
        let after = fs::read(segment()).unwrap();
        let begins = (0..after.len()).find(|at| before[*at] != after[*at]).unwrap();
        let alignment = begins % SECTOR;
        let next = begins.next_multiple_of(SECTOR);
        let crosses = alignment > SECTOR - HEADER && next > begins;
        if crosses && found.iter().all(|(known, ..)| *known != alignment) {
            let mut torn = after.clone();
            torn[begins..next].fill(0);
            found.push((alignment, torn, keys.len() - 1));
        }
        before = after;
        if found.len() == 3 {
            break;
        }
    }
    assert_eq!(found.len(), 3, "places at which a header crosses the end of a sector");
    let path = segment();
    server.kill();
    for (alignment, torn, acknowledged) in found {
        fs::write(&path, torn).unwrap();
        let end = server.start_or_end();
        assert_eq!(end, None, "a group at {alignment} of a sector: {}", server.log_tail());
        assert_eq!(count(&server), acknowledged, "a group at {alignment} of a sector");
        server.kill();
    }
}

fn count(server: &Server) -> usize {
    let key = "key/".into();
    let range_end = "key0".into();
    let range = RangeRequest { key, range_end, count_only: true, ..Default::default() };
    let answer = raw::call(server, "/etcdserverpb.KV/Range", &range);
    let response = answer.decode::<RangeResponse>();
    usize::try_from(response.count).unwrap()
}
