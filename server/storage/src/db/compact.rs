//! Deleting compacted history in small steps.
//!
//! A deletion reads the versions from the previous compacted revision up to the new one, and
//! deletes the version that each of them superseded. This leaves, for each key, the newest version
//! at or below the compacted revision. A tombstone below that revision is deleted too, and with it
//! the key's row in `latest`, unless the key has a newer version. Versions at exactly the compacted
//! revision stay until the next compaction, because a watch may still start there.
//!
//! The cost depends on the versions written since the last compaction, not on the versions kept.

use quorate_core::planted::{self, Mistake};
use quorate_core::{Fault, Revision};
use redb::{ReadableTable, WriteTransaction};

use super::count::{CountChanges, CountIndex};
use super::error::fault;
use super::meta::Meta;
use super::row::{HistoryRow, LatestRow, history_bytes};
use super::tables::{HISTORY, LATEST, RevisionKey};

/// A version that a step has read.
struct ReadVersion {
    revision: Revision,
    previous: Revision,
    /// The key, if the version is a tombstone.
    deleted_key: Option<Vec<u8>>,
}

/// Whether there is history to delete.
pub(super) fn is_due(meta: &Meta) -> bool {
    meta.compacted > meta.deleted
}

/// Whether a deletion is running.
pub(super) fn is_running(meta: &Meta) -> bool {
    meta.deleting > meta.deleted
}

/// Runs a step of the deletion: reads up to `rows` versions, deletes unreachable ones and updates
/// `meta`. Returns the number of versions deleted.
pub(super) fn step(
    txn: &WriteTransaction,
    rows: usize,
    counts: &CountIndex,
    meta: &mut Meta,
) -> Result<u64, Fault> {
    if !is_running(meta) {
        // A deletion keeps its end even if another compaction follows: the next deletion begins
        // where this one ends.
        let beyond = if planted::has(Mistake::CompactTooMuch) { 100 } else { 0 };
        meta.deleting = meta.compacted + beyond;
        meta.delete_from = Revision::start_of(meta.deleted.max(0));
    }
    let compacted = meta.deleting;
    let from = meta.delete_from;
    let mut history = txn.open_table(HISTORY).map_err(fault)?;
    let mut latest = txn.open_table(LATEST).map_err(fault)?;
    let seen = read_versions(&history, from, compacted, rows)?;
    let mut changes = CountChanges::default();
    let mut deleted = 0;
    let mut delete = |revision: Revision, meta: &mut Meta| -> Result<(), Fault> {
        if let Some(row) = history.remove(&revision.to_bytes()).map_err(fault)? {
            let record = HistoryRow::decode(&revision.to_bytes(), row.value())?;
            meta.history_bytes -= history_bytes(record);
            deleted += 1;
        }
        Ok(())
    };
    for version in &seen {
        if !version.previous.is_none() && version.previous.main != compacted {
            delete(version.previous, meta)?;
        }
        let Some(key) = &version.deleted_key else { continue };
        if version.revision.main == compacted {
            continue;
        }
        delete(version.revision, meta)?;
        let newest = match latest.get(key.as_slice()).map_err(fault)? {
            None => None,
            Some(row) => Some(LatestRow::decode(key, row.value())?.header.revision),
        };
        if newest == Some(version.revision) {
            if let Some(row) = latest.remove(key.as_slice()).map_err(fault)? {
                meta.latest_bytes -= (key.len() + row.value().len()) as u64;
            }
            changes.note(counts, key, 0, -1);
        }
    }
    match seen.last() {
        Some(last) if seen.len() >= rows => {
            meta.delete_from = Revision::new(last.revision.main, last.revision.sub + 1);
        }
        _ => {
            meta.deleted = compacted;
        }
    }
    drop((history, latest));
    changes.write(txn)?;
    super::merge::write_meta(txn, meta)?;
    Ok(deleted)
}

fn read_versions(
    history: &impl ReadableTable<&'static RevisionKey, &'static [u8]>,
    from: Revision,
    compacted: i64,
    rows: usize,
) -> Result<Vec<ReadVersion>, Fault> {
    let mut seen = Vec::new();
    let end = Revision::start_of(compacted + 1).to_bytes();
    for row in history.range::<&RevisionKey>(&from.to_bytes()..&end).map_err(fault)? {
        if seen.len() >= rows {
            break;
        }
        let (revision, row) = row.map_err(fault)?;
        let record = HistoryRow::decode(revision.value(), row.value())?;
        seen.push(ReadVersion {
            revision: record.revision,
            previous: record.previous,
            deleted_key: record.is_tombstone().then(|| record.key.to_vec()),
        });
    }
    Ok(seen)
}
