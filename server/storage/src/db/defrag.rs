//! Defragmentation: copying the rows into a new file and switching to that file.
//!
//! The copy is made from a snapshot while flushes continue into the old file. Then versions flushed
//! meanwhile are merged into the copy, repeatedly, until few are left. The writing thread merges
//! the last ones and switches the files. Compacted history is not deleted while a copy is being
//! made: the copy could have a version whose deletion it never sees.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::base::Base;
use quorate_core::{Fault, Record, Revision};
use redb::{Database, Durability, Key, ReadOnlyTable, ReadableTable, TableDefinition, Value};

use super::fault;
use super::file::NewFile;
use super::merge::{append_history, begin, create_tables, merge_latest, write_meta};
use super::meta::Meta;
use super::snapshot::Snapshot;
use super::tables::{ALARM, COUNT, HISTORY, LATEST, LEASE, LEASE_KEY, MEMBER, REMOVED};
use crate::space::Disk;

/// Rows copied in one transaction.
const CHUNK_ROWS: usize = 32 << 10;

/// Free space to leave in addition to a copy, for the log and for flushes meanwhile.
const ROOM_BYTES: u64 = 16 << 20;

/// Fails if the disk of `directory` has no space for a copy of the database that `meta` describes:
/// a full disk would stop the log.
pub(super) fn check_room(directory: &Path, meta: &Meta) -> Result<(), Fault> {
    let in_use = meta.latest_bytes + meta.history_bytes;
    let needed = in_use + in_use / 4 + ROOM_BYTES;
    // If the file system does not report its free space, the copy itself finds out.
    let free = Disk::of(directory).map_or(u64::MAX, |disk| disk.free);
    if free >= needed {
        return Ok(());
    }
    Err(fault(format!(
        "No space left on device: the copy in {} needs about {needed} bytes, {free} are free",
        directory.display()
    )))
}

/// A copy that is being made.
pub(super) struct Copy {
    database: Arc<Database>,
    /// Removed when the copy is dropped, unless it is kept.
    file: NewFile,
    /// The description of the copy.
    meta: Meta,
}

/// Fails if the file that is being copied is no longer in use.
pub(super) type GoesOn<'a> = &'a dyn Fn() -> Result<(), Fault>;

impl Copy {
    /// Copies `snapshot` into an empty database.
    pub(super) fn new(
        database: Arc<Database>,
        file: NewFile,
        snapshot: &Snapshot,
        goes_on: GoesOn<'_>,
    ) -> Result<Self, Fault> {
        let txn = begin(&database)?;
        create_tables(&txn, &Meta::default())?;
        txn.commit().map_err(fault)?;
        copy_table(&database, snapshot, HISTORY, goes_on)?;
        copy_table(&database, snapshot, LATEST, goes_on)?;
        copy_table(&database, snapshot, COUNT, goes_on)?;
        copy_table(&database, snapshot, LEASE_KEY, goes_on)?;
        let meta = snapshot.meta().clone();
        let txn = begin(&database)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        Ok(Self { database, file, meta })
    }

    /// The main revision up to which the copy is complete.
    pub(super) fn revision(&self) -> i64 {
        self.meta.history_revision
    }

    /// Merges the versions of `snapshot` that the copy does not have.
    pub(super) fn catch_up(&mut self, snapshot: &Snapshot) -> Result<(), Fault> {
        while self.revision() < snapshot.revision() {
            let chunk = versions_after(snapshot, self.revision())?;
            let mut newest: BTreeMap<Bytes, &Record> = BTreeMap::new();
            for record in &chunk {
                newest.insert(record.key.clone(), record);
            }
            let current = Snapshot::open(&self.database)?;
            let txn = begin(&self.database)?;
            append_history(&txn, chunk.iter(), &mut self.meta)?;
            let counts = current.counts();
            merge_latest(&txn, newest.values().copied(), counts, &mut self.meta)?;
            // There may be no version above the copy's revision: a new database is at revision 0,
            // and the first flush of an empty store brings it to 1.
            let reached =
                chunk.last().map_or_else(|| snapshot.revision(), |last| last.revision.main);
            self.meta.history_revision = reached;
            self.meta.latest_revision = reached;
            write_meta(&txn, &self.meta)?;
            txn.commit().map_err(fault)?;
        }
        Ok(())
    }

    /// Makes the copy complete and durable. `snapshot` must have the last flush, and nothing may be
    /// flushed meanwhile.
    pub(super) fn finish(mut self, snapshot: &Snapshot) -> Result<(Arc<Database>, NewFile), Fault> {
        self.catch_up(snapshot)?;
        let last = snapshot.meta();
        let meta = Meta {
            applied: last.applied,
            history_revision: last.history_revision,
            latest_revision: last.latest_revision,
            compacted: last.compacted,
            membership: last.membership.clone(),
            ..self.meta
        };
        copy_table(&self.database, snapshot, LEASE, &|| Ok(()))?;
        copy_table(&self.database, snapshot, ALARM, &|| Ok(()))?;
        copy_table(&self.database, snapshot, MEMBER, &|| Ok(()))?;
        copy_table(&self.database, snapshot, REMOVED, &|| Ok(()))?;
        let txn = begin(&self.database)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        Ok((self.database, self.file))
    }
}

/// Versions above main revision `after`: about [`CHUNK_ROWS`], with all versions of the last
/// revision.
fn versions_after(snapshot: &Snapshot, after: i64) -> Result<Vec<Record>, Fault> {
    let mut versions: Vec<Record> = Vec::new();
    let mut cursor = snapshot.history(Revision::start_of(after + 1))?;
    while cursor.advance()? {
        let record = cursor.record();
        let full = versions.len() >= CHUNK_ROWS;
        if full && versions.last().is_some_and(|v| v.revision.main != record.revision.main) {
            break;
        }
        versions.push(record.to_owned());
    }
    Ok(versions)
}

/// Copies a table into an empty one, in transactions that are not durable yet.
fn copy_table<K: Key + 'static, V: Value + 'static>(
    database: &Database,
    snapshot: &Snapshot,
    table: TableDefinition<'static, K, V>,
    goes_on: GoesOn<'_>,
) -> Result<(), Fault> {
    let source: ReadOnlyTable<K, V> = snapshot.txn().open_table(table).map_err(fault)?;
    let mut rows = source.iter().map_err(fault)?;
    let mut done = false;
    while !done {
        goes_on()?;
        let mut txn = database.begin_write().map_err(fault)?;
        txn.set_durability(Durability::None).map_err(fault)?;
        {
            let mut target = txn.open_table(table).map_err(fault)?;
            let mut end =
                target.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded).map_err(fault)?;
            for _ in 0..CHUNK_ROWS {
                let Some(row) = rows.next() else {
                    done = true;
                    break;
                };
                let (key, value) = row.map_err(fault)?;
                end.insert_before(key.value(), value.value()).map_err(fault)?;
            }
            end.close().map_err(fault)?;
        }
        txn.commit().map_err(fault)?;
    }
    Ok(())
}
