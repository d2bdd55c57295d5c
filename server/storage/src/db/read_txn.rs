//! A read transaction: the database at one commit.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::base::{Base, Cursor, RecordHeader};
use quorate_core::store::RestoredState;
use quorate_core::tables::{Lease, MemberAttributes, Tables};
use quorate_core::{End, Fault, KeyRange, Record, RecordRef, Revision};
use redb::{
    AccessGuard, Database, Range, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata,
};

use super::auth;
use super::count::CountIndex;
use super::error::{Problem, fault};
use super::estimate::TableSize;
use super::meta::Meta;
use super::row::{HistoryRow, LatestRow};
use super::sent::SentParts;
use super::tables::{
    ALARM, COUNT, HISTORY, LATEST, LEASE, LEASE_KEY, MEMBER, META, META_KEY, REMOVED, RevisionKey,
};

/// An open read transaction with its tables. While it exists, the database cannot reuse the pages
/// of its commit, so nothing may hold it for long.
pub(super) struct ReadTxn {
    latest: ReadOnlyTable<&'static [u8], &'static [u8]>,
    history: ReadOnlyTable<&'static RevisionKey, &'static [u8]>,
    lease_keys: ReadOnlyTable<&'static [u8], ()>,
    counts: CountIndex,
    meta: Meta,
    /// The parts that were made from this commit for other members.
    sent: SentParts,
    txn: ReadTransaction,
    /// The last field, so that it is dropped last: closing a database fails its readers.
    _database: Arc<Database>,
}

impl ReadTxn {
    /// Opens the last commit of `database`.
    pub(super) fn open(database: &Arc<Database>) -> Result<Self, Fault> {
        let txn = database.begin_read().map_err(fault)?;
        let meta = {
            let table = txn.open_table(META).map_err(fault)?;
            let row = table.get(META_KEY).map_err(fault)?;
            let row = row.ok_or(Problem::NoMeta)?;
            Meta::decode(row.value()).map_err(fault)?
        };
        Ok(Self {
            latest: txn.open_table(LATEST).map_err(fault)?,
            history: txn.open_table(HISTORY).map_err(fault)?,
            lease_keys: txn.open_table(LEASE_KEY).map_err(fault)?,
            counts: CountIndex::load(&txn.open_table(COUNT).map_err(fault)?)?,
            meta,
            sent: SentParts::default(),
            txn,
            _database: database.clone(),
        })
    }

    /// The transaction, for reading tables that have no field here.
    pub(super) fn txn(&self) -> &ReadTransaction {
        &self.txn
    }

    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The rows of `latest` and of `history`.
    pub(super) fn rows(&self) -> Result<(TableSize, TableSize), Fault> {
        let count = |rows: Result<u64, redb::StorageError>| rows.map_err(fault);
        let latest = TableSize { count: count(self.latest.len())?, bytes: self.meta.latest_bytes };
        let history =
            TableSize { count: count(self.history.len())?, bytes: self.meta.history_bytes };
        Ok((latest, history))
    }

    pub(super) fn sent(&self) -> &SentParts {
        &self.sent
    }

    pub(super) fn counts(&self) -> &CountIndex {
        &self.counts
    }

    /// The state that a store needs in addition to the base.
    pub(super) fn restored(&self) -> Result<RestoredState, Fault> {
        let mut tables = Tables::default();
        let table = self.txn.open_table(LEASE).map_err(fault)?;
        for row in table.iter().map_err(fault)? {
            let (id, lease) = row.map_err(fault)?;
            let (ttl, _) = lease.value();
            tables.leases.insert(id.value(), Lease { ttl });
        }
        let table = self.txn.open_table(ALARM).map_err(fault)?;
        for row in table.iter().map_err(fault)? {
            tables.alarms.insert(row.map_err(fault)?.0.value());
        }
        let table = self.txn.open_table(MEMBER).map_err(fault)?;
        for row in table.iter().map_err(fault)? {
            let (id, row) = row.map_err(fault)?;
            let (incarnation, texts) = row.value();
            let mut texts = texts.into_iter().map(str::to_owned);
            let name = texts.next().unwrap_or_default();
            let attributes = MemberAttributes { name, client_urls: texts.collect(), incarnation };
            tables.members.insert(id.value(), attributes);
        }
        let table = self.txn.open_table(REMOVED).map_err(fault)?;
        for row in table.iter().map_err(fault)? {
            tables.removed.insert(row.map_err(fault)?.0.value());
        }
        tables.auth = auth::read(&self.txn)?;
        Ok(RestoredState {
            revision: self.meta.history_revision,
            compacted: (self.meta.compacted >= 0).then_some(self.meta.compacted),
            applied: self.meta.applied,
            membership: self.meta.membership.clone(),
            tables,
        })
    }

    /// The row of history for a row of `latest` that has no value.
    fn value_at(&self, revision: Revision) -> Result<AccessGuard<'_, &'static [u8]>, Fault> {
        let row = self.history.get(&revision.to_bytes()).map_err(fault)?;
        row.ok_or_else(|| Problem::NoVersion(revision).into())
    }

    fn count_rows(&self, range: &KeyRange) -> Result<i64, Fault> {
        let mut cursor = self.scan(range, false)?;
        let mut count = 0;
        while cursor.advance()? {
            count += i64::from(!cursor.record().is_tombstone());
        }
        Ok(count)
    }
}

impl Base for ReadTxn {
    fn revision(&self) -> i64 {
        self.meta.history_revision
    }

    fn header(&self, key: &[u8]) -> Result<Option<RecordHeader>, Fault> {
        match self.latest.get(key).map_err(fault)? {
            None => Ok(None),
            Some(row) => Ok(Some(LatestRow::decode(key, row.value())?.header)),
        }
    }

    fn latest(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        let Some(row) = self.latest.get(key).map_err(fault)? else { return Ok(None) };
        let latest = LatestRow::decode(key, row.value())?;
        if latest.value_in_history {
            return self.at(latest.header.revision);
        }
        Ok(Some(latest.record(key, LatestRow::inline_value(row.value())).to_owned()))
    }

    fn at(&self, revision: Revision) -> Result<Option<Record>, Fault> {
        let key = revision.to_bytes();
        match self.history.get(&key).map_err(fault)? {
            None => Ok(None),
            Some(row) => Ok(Some(HistoryRow::decode(&key, row.value())?.to_owned())),
        }
    }

    fn scan<'a>(
        &'a self,
        range: &KeyRange,
        values: bool,
    ) -> Result<Box<dyn Cursor + Send + 'a>, Fault> {
        let start = range.start.as_ref();
        let rows = match &range.end {
            _ if range.is_empty() => self.latest.range(start..start),
            End::Single => self.latest.range(start..=start),
            End::Before(end) => self.latest.range(start..end.as_ref()),
            End::Unbounded => self.latest.range(start..),
        };
        let rows = rows.map_err(fault)?;
        Ok(Box::new(LatestCursor { base: self, rows, values, at: None }))
    }

    fn history<'a>(&'a self, from: Revision) -> Result<Box<dyn Cursor + Send + 'a>, Fault> {
        let rows = self.history.range::<&RevisionKey>(&from.to_bytes()..).map_err(fault)?;
        Ok(Box::new(HistoryCursor { rows, at: None }))
    }

    fn count(&self, range: &KeyRange) -> Result<i64, Fault> {
        self.counts.count(range, |part| self.count_rows(part))
    }

    fn lease_keys(&self, lease: i64, limit: usize) -> Result<Vec<Bytes>, Fault> {
        let prefix = lease.to_be_bytes();
        let mut keys = Vec::new();
        for row in self.lease_keys.range(&prefix[..]..).map_err(fault)?.take(limit) {
            let (key, ()) = row.map(|(key, _)| (key, ())).map_err(fault)?;
            match key.value().strip_prefix(&prefix) {
                Some(key) => keys.push(Bytes::copy_from_slice(key)),
                None => break,
            }
        }
        Ok(keys)
    }
}

/// A key, its row of `latest`, and the row of history if that has the value.
struct LatestAt<'a> {
    key: AccessGuard<'a, &'static [u8]>,
    row: AccessGuard<'a, &'static [u8]>,
    decoded: LatestRow,
    value: Option<AccessGuard<'a, &'static [u8]>>,
}

struct LatestCursor<'a> {
    base: &'a ReadTxn,
    rows: Range<'a, &'static [u8], &'static [u8]>,
    values: bool,
    at: Option<LatestAt<'a>>,
}

impl Cursor for LatestCursor<'_> {
    fn advance(&mut self) -> Result<bool, Fault> {
        self.at = match self.rows.next().transpose().map_err(fault)? {
            None => None,
            Some((key, row)) => {
                let decoded = LatestRow::decode(key.value(), row.value())?;
                let mut value = None;
                if self.values && decoded.value_in_history {
                    let row = self.base.value_at(decoded.header.revision)?;
                    HistoryRow::decode(&decoded.header.revision.to_bytes(), row.value())?;
                    value = Some(row);
                }
                Some(LatestAt { key, row, decoded, value })
            }
        };
        Ok(self.at.is_some())
    }

    fn record(&self) -> RecordRef<'_> {
        let at = self.at.as_ref().expect("advance returned true");
        let value = match &at.value {
            Some(row) => HistoryRow::value(row.value()),
            None if self.values => LatestRow::inline_value(at.row.value()),
            None => &[],
        };
        at.decoded.record(at.key.value(), value)
    }
}

struct HistoryCursor<'a> {
    rows: Range<'a, &'static RevisionKey, &'static [u8]>,
    at: Option<(AccessGuard<'a, &'static RevisionKey>, AccessGuard<'a, &'static [u8]>)>,
}

impl Cursor for HistoryCursor<'_> {
    fn advance(&mut self) -> Result<bool, Fault> {
        self.at = self.rows.next().transpose().map_err(fault)?;
        if let Some((revision, row)) = &self.at {
            HistoryRow::decode(revision.value(), row.value())?;
        }
        Ok(self.at.is_some())
    }

    fn record(&self) -> RecordRef<'_> {
        let (revision, row) = self.at.as_ref().expect("advance returned true");
        HistoryRow::read(revision.value(), row.value())
    }
}
