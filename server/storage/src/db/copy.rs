//! Copying the rows of the database into a new file.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::base::Base;
use quorate_core::{Fault, Record, Revision};
use redb::{Database, Durability, Key, ReadOnlyTable, ReadableTable, TableDefinition, Value};

use super::auth;
use super::error::fault;
use super::file::NewFile;
use super::merge::{append_history, begin, create_tables, merge_latest, write_meta};
use super::meta::Meta;
use super::read_txn::ReadTxn;
use super::tables::{ALARM, COUNT, HISTORY, LATEST, LEASE, LEASE_KEY, MEMBER, REMOVED};

/// Rows copied in one transaction.
const CHUNK_ROWS: usize = 32 << 10;

/// A copy that is not complete yet.
pub(super) struct DatabaseCopy {
    database: Arc<Database>,
    /// The file of the copy. Removed when the copy is dropped, unless the file is kept.
    file: NewFile,
    /// The description of the copy.
    meta: Meta,
}

/// Fails if the file that is being copied is no longer in use.
pub(super) type CheckCurrent<'a> = &'a dyn Fn() -> Result<(), Fault>;

impl DatabaseCopy {
    /// Copies the keys and the history of `source` into an empty database. [`Self::finish`] copies
    /// the other tables.
    pub(super) fn new(
        database: Arc<Database>,
        file: NewFile,
        source: &ReadTxn,
        check_current: CheckCurrent<'_>,
    ) -> Result<Self, Fault> {
        let txn = begin(&database)?;
        create_tables(&txn, &Meta::default())?;
        txn.commit().map_err(fault)?;
        copy_table(&database, source, HISTORY, check_current)?;
        copy_table(&database, source, LATEST, check_current)?;
        copy_table(&database, source, COUNT, check_current)?;
        copy_table(&database, source, LEASE_KEY, check_current)?;
        let meta = source.meta().clone();
        let txn = begin(&database)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        Ok(Self { database, file, meta })
    }

    /// The main revision up to which the copy is complete.
    pub(super) fn revision(&self) -> i64 {
        self.meta.history_revision
    }

    /// Merges the versions of `source` that the copy does not have.
    pub(super) fn catch_up(&mut self, source: &ReadTxn) -> Result<(), Fault> {
        while self.revision() < source.revision() {
            let chunk = versions_after(source, self.revision())?;
            let mut newest: BTreeMap<Bytes, &Record> = BTreeMap::new();
            for record in &chunk {
                newest.insert(record.key.clone(), record);
            }
            let current = ReadTxn::open(&self.database)?;
            let txn = begin(&self.database)?;
            append_history(&txn, chunk.iter(), &mut self.meta)?;
            let counts = current.counts();
            merge_latest(&txn, newest.values().copied(), counts, &mut self.meta)?;
            // There may be no version above the copy's revision: a new database is at revision 0,
            // and the first flush of an empty store brings the database to revision 1.
            let reached = chunk.last().map_or_else(|| source.revision(), |last| last.revision.main);
            self.meta.history_revision = reached;
            self.meta.latest_revision = reached;
            write_meta(&txn, &self.meta)?;
            txn.commit().map_err(fault)?;
        }
        Ok(())
    }

    /// Makes the copy complete and durable. The caller ensures that `source` includes the last
    /// flush, and that no flush runs during the call.
    pub(super) fn finish(mut self, source: &ReadTxn) -> Result<(Arc<Database>, NewFile), Fault> {
        self.catch_up(source)?;
        let last = source.meta();
        let meta = Meta {
            format: last.format,
            applied: last.applied,
            history_revision: last.history_revision,
            latest_revision: last.latest_revision,
            compacted: last.compacted,
            membership: last.membership.clone(),
            ..self.meta
        };
        copy_table(&self.database, source, LEASE, &|| Ok(()))?;
        copy_table(&self.database, source, ALARM, &|| Ok(()))?;
        copy_table(&self.database, source, MEMBER, &|| Ok(()))?;
        copy_table(&self.database, source, REMOVED, &|| Ok(()))?;
        let txn = begin(&self.database)?;
        auth::write(&txn, &*auth::read(source.txn())?)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        Ok((self.database, self.file))
    }
}

/// About [`CHUNK_ROWS`] versions above main revision `after`. No main revision is divided: the
/// result has all its versions or none.
fn versions_after(source: &ReadTxn, after: i64) -> Result<Vec<Record>, Fault> {
    let mut versions: Vec<Record> = Vec::new();
    let mut cursor = source.history(Revision::start_of(after + 1))?;
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

/// Copies a table into an empty table, in transactions that are not durable yet.
fn copy_table<K: Key + 'static, V: Value + 'static>(
    database: &Database,
    source: &ReadTxn,
    table: TableDefinition<'static, K, V>,
    check_current: CheckCurrent<'_>,
) -> Result<(), Fault> {
    let from: ReadOnlyTable<K, V> = source.txn().open_table(table).map_err(fault)?;
    let mut rows = from.iter().map_err(fault)?;
    let mut done = false;
    while !done {
        check_current()?;
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
