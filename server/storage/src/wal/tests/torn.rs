//! Torn writes and damage of the last group, at every alignment in a sector.

use super::record::SECTOR;
use super::*;
use crate::format::DATA_FORMAT;

/// Number of positions in a sector where a group can begin.
const ALIGNMENTS: usize = SECTOR / 8;
/// Lengths of segments.
const SMALL: usize = 16 << 10;
const LARGE: usize = 8 << 20;

/// A segment before and after its last group was written. That group begins at `at`, where the
/// group before it ends.
struct Last {
    before: Vec<u8>,
    after: Vec<u8>,
    at: usize,
}

/// Appends a group to `content`.
pub(super) fn push_group(content: &mut Vec<u8>, number: u64, records: &[Record]) {
    let start = content.len();
    let bitmap = record::bitmap_len(records.iter().map(Record::encoded_len).sum());
    content.resize(start + record::GROUP_HEADER_LEN + bitmap, 0);
    records.iter().for_each(|record| record.encode(content));
    record::seal_group(content, start, bitmap, 1, number);
}

/// A segment of `length` bytes with three groups. The last group has entry 2 and begins
/// `alignment` times 8 bytes after the start of a sector.
fn last_group(length: usize, alignment: usize, payload: Vec<u8>) -> Last {
    let first = Record::Segment { format: DATA_FORMAT, length: length as u64 };
    let mut after = Vec::new();
    push_group(&mut after, 0, &[first, Record::Entry(entry(1, 0, 100))]);
    let used = after.len();
    let at = (used + 100).next_multiple_of(SECTOR) + alignment * 8;
    let lands = |fill: &usize| used + record::group_len(record::RECORD_HEADER_LEN + fill) == at;
    let fill = (0..2000).find(lands).unwrap();
    push_group(&mut after, 1, &[Record::Entry(entry(1, 1, fill))]);
    assert_eq!(after.len(), at);
    let mut before = after.clone();
    before.resize(length, 0);
    let last = Entry { payload: Bytes::from(payload), ..entry(1, 2, 0) };
    push_group(&mut after, 2, &[Record::Entry(last)]);
    after.resize(length, 0);
    Last { before, after, at }
}

impl Last {
    /// Numbers of the units of `size` bytes that the last group changed.
    fn changed(&self, size: usize) -> Vec<usize> {
        let units = self.before.chunks(size).zip(self.after.chunks(size)).enumerate();
        units.filter(|(_, (before, after))| before != after).map(|(unit, _)| unit).collect()
    }

    /// The segment if only these units of the last group were written.
    fn with(&self, size: usize, written: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let mut torn = self.before.clone();
        for unit in written {
            let range = unit * size..(unit + 1) * size;
            torn[range.clone()].copy_from_slice(&self.after[range]);
        }
        torn
    }
}

/// Recovers a segment; returns how many entries are left after a torn group is cut off.
fn entries_of(image: &[u8]) -> Result<u64, RecoveryError> {
    // Prefer a file system in memory, which is faster: the test does not depend on the disk.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(folder).unwrap();
    let path = segment::path_of(dir.path(), 1);
    std::fs::write(&path, image).unwrap();
    let last = recovery::recover(dir.path())?.entries.last();
    let cut = std::fs::read(&path).unwrap();
    assert_eq!(recovery::recover(dir.path())?.entries.last(), last);
    assert_eq!(std::fs::read(&path).unwrap(), cut, "a second recovery changes nothing");
    Ok(last.map_or(0, |last| last + 1))
}

fn assert_damaged(image: &[u8], what: &str) {
    let found = entries_of(image);
    assert!(matches!(found, Err(RecoveryError::Damaged { .. })), "{what}: {found:?}");
}

#[test]
fn a_torn_group_is_cut_off_wherever_it_begins() {
    for alignment in 0..ALIGNMENTS {
        let last = last_group(SMALL, alignment, vec![7; 700]);
        for size in [SECTOR, segment::BLOCK] {
            let changed = last.changed(size);
            for written in 0u32..(1 << changed.len()) {
                let bits = changed.iter().enumerate().filter(|(bit, _)| written & (1 << bit) != 0);
                let torn = last.with(size, bits.map(|(_, unit)| *unit));
                let what = format!("alignment {alignment}, units of {size}: {written:b}");
                let entries = entries_of(&torn).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(entries, if torn == last.after { 3 } else { 2 }, "{what}");
            }
        }
    }
}

/// A header with the bitmap of a large group fills whole sectors.
#[test]
fn a_torn_group_with_a_long_header_is_cut_off() {
    for (alignment, fill, mib) in [(0, 7, 5), (61, 7, 2), (62, 0, 5)] {
        let last = last_group(LARGE, alignment, vec![fill; mib << 20]);
        let changed = last.changed(SECTOR);
        let head: Vec<usize> = changed.iter().copied().take(5).collect();
        for lost in 1u32..1 << head.len() {
            let is_lost = |unit: &usize| {
                head.iter().position(|u| u == unit).is_some_and(|bit| lost & (1 << bit) != 0)
            };
            let what = format!("alignment {alignment}, filled with {fill}: {lost:b}");
            // The rest of the group was written completely, or not at all.
            for units in [&changed, &head] {
                let torn = last.with(SECTOR, units.iter().copied().filter(|unit| !is_lost(unit)));
                let entries = entries_of(&torn).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(entries, 2, "{what}");
            }
        }
    }
}

/// Damage is noticed at every alignment: a changed bit of the header, and a lost sector that has
/// synced bytes.
#[test]
fn damage_is_no_torn_group_wherever_it_begins() {
    for alignment in 0..ALIGNMENTS {
        let last = last_group(SMALL, alignment, vec![7; 200]);
        let header = record::GROUP_HEADER_LEN + record::bitmap_len(228);
        for at in last.at..last.at + header {
            let mut bad = last.after.clone();
            bad[at] ^= 1 << (at % 8);
            assert_damaged(&bad, &format!("a bit of byte {at}, alignment {alignment}"));
        }
        let start = last.at - last.at % SECTOR;
        let mut bad = last.after.clone();
        bad[start..start + SECTOR].fill(0);
        if !record::is_zero(&bad[start..]) && alignment > 0 {
            // The lost sector also has the end of the group before, which was synced.
            assert_damaged(&bad, &format!("a lost sector, alignment {alignment}"));
        }
    }
}

/// A sector of zeros has a zero bit in the bitmap. So a whole sector of the bitmap can be zero
/// although the group wrote that sector.
#[test]
fn a_damaged_header_over_zeros_is_no_torn_group() {
    let last = last_group(LARGE, 62, vec![0; 5 << 20]);
    for offset in 0..record::GROUP_HEADER_LEN {
        let mut bad = last.after.clone();
        bad[last.at + offset] ^= 4;
        assert_damaged(&bad, &format!("byte {offset} of the header"));
    }
}
