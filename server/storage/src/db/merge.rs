//! Merging a frozen memtable into the database, in one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use quorate_core::planted::{self, Mistake};
use quorate_core::store::FrozenMemtable;
use quorate_core::tables::{Lease, Tables};
use quorate_core::{Fault, Record, RecordRef, Revision};
use redb::{Database, Durability, Table, WriteTransaction};

use super::auth;
use super::count::{CountChanges, CountIndex};
use super::error::fault;
use super::meta::Meta;
use super::row::{HistoryRow, LatestRow, history_bytes, lease_key, stored_bytes};
use super::tables::{
    ALARM, COUNT, HISTORY, LATEST, LEASE, LEASE_KEY, MEMBER, META, META_KEY, REMOVED, RevisionKey,
};

/// Begins a transaction whose commit is durable. After a crash the file then opens in milliseconds,
/// without a repair.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = database.begin_write().map_err(fault)?;
    txn.set_durability(Durability::Immediate).map_err(fault)?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Makes all tables and writes the description.
pub(super) fn create_tables(txn: &WriteTransaction, meta: &Meta) -> Result<(), Fault> {
    txn.open_table(LATEST).map_err(fault)?;
    txn.open_table(HISTORY).map_err(fault)?;
    txn.open_table(COUNT).map_err(fault)?;
    txn.open_table(LEASE).map_err(fault)?;
    txn.open_table(LEASE_KEY).map_err(fault)?;
    txn.open_table(ALARM).map_err(fault)?;
    txn.open_table(MEMBER).map_err(fault)?;
    txn.open_table(REMOVED).map_err(fault)?;
    write_meta(txn, meta)
}

/// Writes the description.
pub(super) fn write_meta(txn: &WriteTransaction, meta: &Meta) -> Result<(), Fault> {
    let mut table = txn.open_table(META).map_err(fault)?;
    table.insert(META_KEY, meta.encode().as_slice()).map_err(fault)?;
    Ok(())
}

/// Writes everything in `frozen`, and updates `meta`.
pub(super) fn merge(
    txn: &WriteTransaction,
    frozen: &FrozenMemtable,
    counts: &CountIndex,
    meta: &mut Meta,
) -> Result<(), Fault> {
    let memtable = frozen.memtable.read();
    append_history(txn, memtable.since(Revision::NONE), meta)?;
    merge_latest(txn, memtable.newest(), counts, meta)?;
    write_leases(txn, &frozen.leases)?;
    write_small_tables(txn, &frozen.tables)?;
    if !planted::has(Mistake::AppliedOutside) {
        meta.applied = frozen.applied;
    }
    meta.history_revision = frozen.revision;
    meta.latest_revision = frozen.revision;
    meta.compacted = frozen.compacted;
    meta.membership = frozen.membership.clone();
    meta.format = auth::format_with(&frozen.tables.auth);
    write_meta(txn, meta)
}

/// Appends versions to history. They must ascend and be above all existing versions.
pub(super) fn append_history<'a>(
    txn: &WriteTransaction,
    records: impl Iterator<Item = &'a Record>,
    meta: &mut Meta,
) -> Result<(), Fault> {
    let mut table = txn.open_table(HISTORY).map_err(fault)?;
    let mut cursor = table.upper_bound_mut(Bound::<&RevisionKey>::Unbounded).map_err(fault)?;
    let mut row = Vec::new();
    for record in records {
        HistoryRow::encode(record.as_ref(), &mut row);
        meta.history_bytes += history_bytes(record.as_ref());
        cursor.insert_before(&record.revision.to_bytes(), row.as_slice()).map_err(fault)?;
    }
    cursor.close().map_err(fault)
}

/// Writes the newest versions of keys to `latest`, and updates leases and counts. `records` must
/// ascend by key.
pub(super) fn merge_latest<'a>(
    txn: &WriteTransaction,
    records: impl Iterator<Item = &'a Record>,
    counts: &CountIndex,
    meta: &mut Meta,
) -> Result<(), Fault> {
    let mut changes = CountChanges::default();
    {
        let mut latest = txn.open_table(LATEST).map_err(fault)?;
        let mut lease_keys = txn.open_table(LEASE_KEY).map_err(fault)?;
        let mut row = Vec::new();
        for record in records {
            LatestRow::encode(record.as_ref(), &mut row);
            let old = {
                let replaced = latest.insert(record.key.as_ref(), row.as_slice()).map_err(fault)?;
                match &replaced {
                    None => None,
                    Some(old) => {
                        meta.latest_bytes -= (record.key.len() + old.value().len()) as u64;
                        Some(LatestRow::decode(&record.key, old.value())?.header)
                    }
                }
            };
            meta.latest_bytes += stored_bytes(record.as_ref());
            let lived = old.is_some_and(|old| old.version > 0);
            let keys = i64::from(!record.is_tombstone()) - i64::from(lived);
            changes.note(counts, &record.key, keys, i64::from(old.is_none()));
            let old_lease = old.map_or(0, |old| old.lease);
            move_lease(&mut lease_keys, record.as_ref(), old_lease)?;
        }
    }
    changes.write(txn)
}

fn move_lease(
    table: &mut Table<'_, &'static [u8], ()>,
    record: RecordRef<'_>,
    old_lease: i64,
) -> Result<(), Fault> {
    if record.lease == old_lease {
        return Ok(());
    }
    let mut key = Vec::new();
    if old_lease != 0 {
        lease_key(old_lease, record.key, &mut key);
        table.remove(key.as_slice()).map_err(fault)?;
    }
    if record.lease != 0 {
        lease_key(record.lease, record.key, &mut key);
        table.insert(key.as_slice(), ()).map_err(fault)?;
    }
    Ok(())
}

/// Writes changed leases and removes ended leases.
pub(super) fn write_leases(
    txn: &WriteTransaction,
    leases: &BTreeMap<i64, Option<Lease>>,
) -> Result<(), Fault> {
    let mut table = txn.open_table(LEASE).map_err(fault)?;
    for (id, lease) in leases {
        match lease {
            Some(lease) => table.insert(*id, (lease.ttl, 0)).map_err(fault)?,
            None => table.remove(*id).map_err(fault)?,
        };
    }
    Ok(())
}

/// Writes the tables that are small enough to be written completely each time.
pub(super) fn write_small_tables(txn: &WriteTransaction, tables: &Tables) -> Result<(), Fault> {
    let mut alarms = txn.open_table(ALARM).map_err(fault)?;
    alarms.retain(|alarm, ()| tables.alarms.contains(&alarm)).map_err(fault)?;
    for alarm in &tables.alarms {
        alarms.insert(*alarm, ()).map_err(fault)?;
    }
    let mut members = txn.open_table(MEMBER).map_err(fault)?;
    members.retain(|id, _| tables.members.contains_key(&id)).map_err(fault)?;
    for (id, attributes) in &tables.members {
        let urls = attributes.client_urls.iter().map(String::as_str);
        let row: Vec<&str> = std::iter::once(attributes.name.as_str()).chain(urls).collect();
        members.insert(*id, (attributes.incarnation, row)).map_err(fault)?;
    }
    let mut removed = txn.open_table(REMOVED).map_err(fault)?;
    for id in &tables.removed {
        removed.insert(*id, ()).map_err(fault)?;
    }
    auth::write(txn, &tables.auth)
}
