//! After any damage to its files, the server either refuses to start with one log line or has every
//! acknowledged write. It never answers wrongly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_conformance::data_dir::{copy, error_line, exit_status, files, start_refused};
use quorate_test_support::program;
use quorate_test_support::server::Server;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

/// Disks write a sector atomically.
const SECTOR: usize = 512;

/// How a server ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By SIGKILL: data that was in memory is only in the log.
    Killed,
    /// By SIGTERM: data that was in memory is flushed to the database.
    Stopped,
}

/// A data directory with acknowledged writes, whose copies are to be damaged.
struct Original {
    home: TempDir,
    keys: Acknowledged,
}

impl Original {
    /// Runs a server once per element: writes this many keys with values of this many bytes, and
    /// ends the server this way.
    fn new(runs: &[(usize, usize, End)]) -> Self {
        let home = TempDir::new().unwrap();
        let mut server = server(&home.path().join("original"));
        let mut keys = Acknowledged::default();
        for (count, size, end) in runs {
            server.start();
            assert_eq!(keys.write(&server, *count, *size), None);
            match end {
                End::Killed => server.kill(),
                End::Stopped => drop(server.stop()),
            }
        }
        Self { home, keys }
    }

    fn data_dir(&self) -> PathBuf {
        self.home.path().join("original/data")
    }

    /// A server on a fresh copy of the data, not running.
    fn copied(&self) -> Server {
        let folder = self.home.path().join("copy");
        fs::remove_dir_all(&folder).ok();
        copy(&self.data_dir(), &folder.join("data"));
        server(&folder)
    }

    /// Starts the server on a damaged copy. Asserts that it either refuses with one log line, or
    /// has every acknowledged write and accepts new ones. Returns the log line if it refused.
    fn refused_or_whole(&self, server: &mut Server, what: &str) -> Option<String> {
        let Some(end) = server.start_or_end() else {
            assert_eq!(self.keys.missing(server), None, "{what}");
            // It also accepts a write.
            let mut more = Acknowledged::default();
            assert_eq!(more.write(server, 1, 10), None, "{what}");
            server.kill();
            return None;
        };
        let line = error_line(server);
        assert!(line.contains("\"reason\":\"damaged\""), "{what}: {line}");
        assert_eq!(end.code(), Some(exit_status(&line)), "{what}: {line}");
        Some(line)
    }
}

fn server(folder: &Path) -> Server {
    Server::in_folder(&program::quorate(), folder, &[])
}

fn segments(server: &Server) -> Vec<PathBuf> {
    files(&server.data_dir().join("member/wal"), "wal")
}

fn database(server: &Server) -> PathBuf {
    files(&server.data_dir().join("member/db"), "redb").remove(0)
}

/// The length of a file without trailing zeros.
fn content_len(path: &Path) -> usize {
    let content = fs::read(path).unwrap();
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn flip(path: &Path, offset: usize, bit: u8) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset as u64).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset as u64).unwrap();
}

fn cut(path: &Path, length: usize) {
    File::options().write(true).open(path).unwrap().set_len(length as u64).unwrap();
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_or_harmless() {
    let original = Original::new(&[(40, 300, End::Killed), (40, 300, End::Killed)]);
    let length = content_len(&segments(&original.copied())[0]);
    let mut random = StdRng::seed_from_u64(3);
    let mut refusals = 0;
    for _ in 0..60 {
        let mut server = original.copied();
        let at = random.random_range(0..length);
        let bit = random.random_range(0..8);
        flip(&segments(&server)[0], at, bit);
        let what = format!("bit {bit} of byte {at} of {length}");
        if let Some(said) = original.refused_or_whole(&mut server, &what) {
            assert!(said.contains("is damaged at offset"), "{what}: {said}");
            assert!(said.contains(".wal"), "{what}: {said}");
            refusals += 1;
        }
    }
    // Bits in the padding between groups have no meaning; there are few of them.
    assert!(refusals > 40, "only {refusals} were noticed");
}

#[test]
fn a_flipped_bit_in_the_database_is_refused_or_harmless() {
    let original = Original::new(&[(300, 500, End::Stopped)]);
    let length = content_len(&database(&original.copied()));
    let mut random = StdRng::seed_from_u64(4);
    let mut refusals = 0;
    for _ in 0..60 {
        let mut server = original.copied();
        // The log may still have what the database loses; the outcome must not depend on that.
        let at = random.random_range(0..length);
        let bit = random.random_range(0..8);
        flip(&database(&server), at, bit);
        let what = format!("bit {bit} of byte {at} of {length}");
        if let Some(said) = original.refused_or_whole(&mut server, &what) {
            assert!(said.contains("the database") && said.contains(".redb"), "{what}: {said}");
            refusals += 1;
        }
    }
    assert!(refusals > 5, "only {refusals} were noticed");
}

#[test]
fn a_truncated_file_is_refused_or_harmless() {
    let original = Original::new(&[(60, 1000, End::Stopped), (60, 1000, End::Killed)]);
    let log = content_len(&segments(&original.copied())[0]);
    let db = usize::try_from(fs::metadata(database(&original.copied())).unwrap().len()).unwrap();
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..20 {
        let mut server = original.copied();
        let at = random.random_range(0..log);
        cut(&segments(&server)[0], at);
        let what = format!("the log cut at {at} of {log}");
        let said = original.refused_or_whole(&mut server, &what);
        assert!(said.is_some_and(|said| said.contains(".wal")), "{what}");
    }
    for _ in 0..20 {
        let mut server = original.copied();
        let at = random.random_range(0..db);
        cut(&database(&server), at);
        let what = format!("the database cut at {at} of {db}");
        let said = original.refused_or_whole(&mut server, &what);
        assert!(said.is_none_or(|said| said.contains(".redb")), "{what}");
    }
}

/// A power failure leaves a part of the last write, which was not acknowledged. The server drops
/// it.
#[test]
fn a_torn_last_write_is_dropped() {
    let original = Original::new(&[(30, 200, End::Killed)]);
    let before = fs::read(&segments(&original.copied())[0]).unwrap();
    let mut server = original.copied();
    server.start();
    // One more write. Below, only some of its sectors reach the disk.
    let mut more = Acknowledged::default();
    assert_eq!(more.write(&server, 1, 64 << 10), None);
    server.kill();
    let after = fs::read(&segments(&server)[0]).unwrap();
    let differ = |sector: usize| {
        let range = sector * SECTOR..(sector + 1) * SECTOR;
        before[range.clone()] != after[range]
    };
    let last = (0..after.len() / SECTOR).rev().find(|sector| differ(*sector)).unwrap();
    // The value fills the last sectors; those before were synced earlier.
    let group = last - 100..=last;
    let mut random = StdRng::seed_from_u64(6);
    let path = segments(&server)[0].clone();
    for round in 0..30 {
        let mut torn = after.clone();
        for sector in group.clone() {
            let lost = match round {
                0 => true,
                1..15 => sector > last - round * 7,
                _ => random.random(),
            };
            if lost || sector == last - round {
                let range = sector * SECTOR..(sector + 1) * SECTOR;
                torn[range.clone()].copy_from_slice(&before[range]);
            }
        }
        fs::write(&path, &torn).unwrap();
        server.start();
        assert_eq!(original.keys.missing(&server), None, "round {round}");
        server.kill();
    }
    assert_eq!(original.keys.len(), 30);
}

#[test]
fn a_missing_segment_is_refused() {
    // More than the first segments can hold, and not flushed yet.
    let original = Original::new(&[(20, 1 << 20, End::Killed)]);
    let count = segments(&original.copied()).len();
    assert!(count >= 3, "{count} segments");
    for missing in 0..count {
        let mut server = original.copied();
        fs::remove_file(&segments(&server)[missing]).unwrap();
        let what = format!("segment {missing} of {count}");
        let said = original.refused_or_whole(&mut server, &what);
        assert!(said.is_some(), "{what}");
    }
    let mut server = original.copied();
    cut(&segments(&server)[0], 1 << 20);
    assert!(start_refused(&mut server).contains("is damaged"));
    let mut server = original.copied();
    let notes = server.data_dir().join("member/wal/notes.txt");
    fs::write(&notes, "mine").unwrap();
    // Already private: otherwise the server would change its mode before it refuses.
    fs::set_permissions(&notes, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(start_refused(&mut server).contains("notes.txt does not belong"));
}

#[test]
fn a_missing_file_is_refused_or_harmless() {
    for end in [End::Stopped, End::Killed] {
        let original = Original::new(&[(50, 100, End::Stopped), (50, 100, end)]);
        for part in ["db", "wal", "db/CURRENT"] {
            let mut server = original.copied();
            let path = server.data_dir().join("member").join(part);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            original.refused_or_whole(&mut server, &format!("without {part}"));
        }
        let mut server = original.copied();
        fs::remove_file(database(&server)).unwrap();
        assert!(start_refused(&mut server).contains("missing or empty"));
        let mut server = original.copied();
        fs::write(server.data_dir().join("member/db/CURRENT"), "nonsense").unwrap();
        assert!(start_refused(&mut server).contains("CURRENT"));
    }
}
