//! A partial snapshot: the parts received so far, in a new database file.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::planted::{self, Mistake};
use quorate_core::store::RestoredState;
use quorate_core::{Fault, LogPosition};
use redb::{
    CursorError, Database, Durability, Key, ReadableTableMetadata, TableDefinition, Value,
    WriteTransaction,
};

use super::error::{Problem, fault};
use super::file::NewFile;
use super::merge::{begin, create_tables, write_meta, write_small_tables};
use super::meta::Meta;
use super::part::{PartError, PartPosition, PartReader, Row, Trailer, first_checksum};
use super::read_txn::ReadTxn;
use super::row::{HistoryRow, LatestRow};
use super::tables::{
    self, HISTORY_NUMBER, LATEST_NUMBER, LEASE_KEY_NUMBER, SENT_TABLES, Visitor, fits,
};

/// Bytes of parts after which a commit is durable. redb keeps each page since the last durable
/// commit in a list, which this bounds to a few megabytes of memory.
const DURABLE_BYTES: u64 = 256 << 20;

/// Why a part or a whole snapshot was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The part is damaged or is not the next one. The parts received before are kept.
    #[error("refused a part of the snapshot: {0}")]
    Refused(#[from] PartError),
    /// The parts do not make up the whole snapshot. They were dropped.
    #[error(
        "the received snapshot is incomplete and must be sent again: table {table} has {found} of \
         {expected} rows"
    )]
    Incomplete {
        /// Number of a table that lacks rows.
        table: u32,
        /// Number of its rows.
        found: u64,
        /// Number of rows that it should have.
        expected: u64,
    },
    /// Another stream receives this snapshot or another one, or the snapshot was dropped.
    #[error("another stream has taken over")]
    TakenOver,
    /// The snapshot cannot be stored. The parts were dropped.
    #[error("cannot store the received snapshot: {0}")]
    Storage(#[from] Fault),
}

/// A partial snapshot.
pub(super) struct PartialSnapshot {
    /// Id of the sender's image.
    pub(super) id: String,
    database: Arc<Database>,
    /// Dropping it removes the file. It is below `database`, so that the database is closed first.
    file: NewFile,
    /// Cache size of the complete database. Appending rows needs only a part of it.
    cache_bytes: usize,
    pub(super) position: PartPosition,
    checksum: u32,
    /// Bytes of the parts.
    pub(super) bytes: u64,
    /// The end of the last part, once that was added.
    trailer: Option<Trailer>,
}

impl PartialSnapshot {
    /// Starts with an empty database.
    pub(super) fn begin(id: &str, file: NewFile, cache_bytes: usize) -> Result<Self, Fault> {
        let database = file.open_to_receive(cache_bytes / 4)?;
        let txn = begin(&database)?;
        create_tables(&txn, &Meta::default())?;
        txn.commit().map_err(fault)?;
        Ok(Self {
            id: id.to_owned(),
            database,
            file,
            cache_bytes,
            position: PartPosition::default(),
            checksum: first_checksum(id),
            bytes: 0,
            trailer: None,
        })
    }

    /// Whether the last part was added.
    pub(super) fn is_complete(&self) -> bool {
        self.trailer.is_some()
    }

    /// Adds the next part.
    pub(super) fn add(&mut self, content: &[u8]) -> Result<(), ReceiveError> {
        if self.trailer.is_some() {
            return Err(PartError::AfterLast.into());
        }
        // Leave the margin to the log, which needs the space more than this.
        if let Ok(disk) = self.file.disk()
            && disk.free < disk.margin() + content.len() as u64
        {
            return Err(Fault::from(Problem::NoSpaceForPart { free: disk.free }).into());
        }
        let mut part = PartReader::open(content, self.position.parts, self.checksum)?;
        let bytes = self.bytes + content.len() as u64;
        let mut txn = self.database.begin_write().map_err(fault)?;
        if bytes / DURABLE_BYTES == self.bytes / DURABLE_BYTES {
            txn.set_durability(Durability::None).map_err(fault)?;
        }
        let mut last = None;
        let mut next = part.row()?;
        while let Some(row) = next {
            let append = Append { txn: &txn, row, part: &mut part };
            let appended = tables::visit(row.table, append);
            let (end, after) = appended.ok_or(PartError::UnknownTable(row.table))??;
            last = Some(end);
            next = after;
        }
        let checksum = part.checksum;
        let trailer = part.trailer()?;
        txn.commit().map_err(fault)?;
        if let Some(row) = last {
            self.position.table = row.table;
            self.position.key = Bytes::copy_from_slice(row.key);
        }
        self.position.parts += 1;
        self.checksum = checksum;
        self.bytes = bytes;
        self.trailer = trailer;
        Ok(())
    }

    /// Makes the snapshot complete and durable. Its last part must have been added.
    pub(super) fn finish(self) -> Result<ReceivedSnapshot, ReceiveError> {
        let Trailer { rows, tables, meta } = self.trailer.expect("the caller checked it");
        let txn = begin(&self.database)?;
        for (table, expected) in SENT_TABLES.zip(rows) {
            let count = Count(&txn);
            let found = tables::visit(table, count).expect("tables are numbered without gaps")?;
            if found != expected && !planted::has(Mistake::IncompleteSnapshot) {
                return Err(ReceiveError::Incomplete { table, found, expected });
            }
        }
        write_small_tables(&txn, &tables)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        drop(self.database);
        // Open the file again as a restart would, before anything depends on it.
        let database = self.file.open(self.cache_bytes)?;
        let base = Arc::new(ReadTxn::open(&database)?);
        let restored = base.restored()?;
        Ok(ReceivedSnapshot { base, restored, database, file: self.file })
    }
}

/// Appends rows of a part to one table until a row of another table follows.
struct Append<'p, 'a> {
    txn: &'p WriteTransaction,
    /// The first row to append.
    row: Row<'a>,
    part: &'p mut PartReader<'a>,
}

impl<'a> Visitor for Append<'_, 'a> {
    /// The last row appended, and the first row of the next table.
    type Output = Result<(Row<'a>, Option<Row<'a>>), ReceiveError>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        let mut table = self.txn.open_table(table).map_err(fault)?;
        let unbounded = Bound::<K::SelfType<'_>>::Unbounded;
        let mut end = table.upper_bound_mut(unbounded).map_err(fault)?;
        let mut row = self.row;
        let next = loop {
            if !fits::<K>(row.key) || !fits::<V>(row.value) {
                return Err(PartError::RowWidth(row.table).into());
            }
            check_row(row)?;
            let key = K::from_bytes(row.key);
            let value = V::from_bytes(row.value);
            match end.insert_before(key, value) {
                Ok(()) => {}
                Err(CursorError::UnorderedKey) => {
                    return Err(PartError::Unordered(row.table).into());
                }
                Err(error) => return Err(fault(error).into()),
            }
            match self.part.row()? {
                Some(next) if next.table == row.table => row = next,
                next => break next,
            }
        };
        end.close().map_err(fault)?;
        Ok((row, next))
    }
}

/// Checks that a row can be decoded: a member stops when it reads a row that cannot.
fn check_row(row: Row<'_>) -> Result<(), PartError> {
    match row.table {
        HISTORY_NUMBER => {
            let key = row.key.try_into().map_err(|_| PartError::RowWidth(row.table))?;
            HistoryRow::decode(key, row.value).map_err(PartError::Row)?;
        }
        LATEST_NUMBER => {
            LatestRow::decode(row.key, row.value).map_err(PartError::Row)?;
        }
        LEASE_KEY_NUMBER if row.key.len() < size_of::<i64>() => return Err(PartError::LeaseKey),
        _ => {}
    }
    Ok(())
}

/// Counts the rows of a table.
struct Count<'a>(&'a WriteTransaction);

impl Visitor for Count<'_> {
    type Output = Result<u64, Fault>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        self.0.open_table(table).map_err(fault)?.len().map_err(fault)
    }
}

/// A complete and durable snapshot that is not in use yet. Dropping it removes its file.
pub struct ReceivedSnapshot {
    pub(super) base: Arc<ReadTxn>,
    pub(super) restored: RestoredState,
    pub(super) database: Arc<Database>,
    pub(super) file: NewFile,
}

impl ReceivedSnapshot {
    /// The last log entry in the snapshot.
    pub fn applied(&self) -> Option<LogPosition> {
        self.restored.applied
    }

    /// The Raft membership at that entry, opaque here.
    pub fn membership(&self) -> &Bytes {
        &self.restored.membership
    }
}

impl std::fmt::Debug for ReceivedSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceivedSnapshot").field("applied", &self.applied()).finish_non_exhaustive()
    }
}
