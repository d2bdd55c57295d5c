//! Another member's state on its way into a database of its own, beside the one in use.
//!
//! ```text
//!   receive ---> add, add, ... ---> finish ---> Received ---> Engine::install
//!      ^            |  the stream breaks
//!      +------------+  the next one goes on where it ended
//! ```
//!
//! The half that was received outlives its stream, not the process: nothing of it is durable before
//! the end, and a start removes it. So it costs no more than writing the rows, and no memory.

use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_core::store::Restored;
use quorate_core::{Fault, LogPosition};
use redb::{
    CursorError, Database, Durability, Key, ReadableTableMetadata, TableDefinition, Value,
    WriteTransaction,
};

use super::fault;
use super::file::NewFile;
use super::merge::{begin, create_tables, write_meta, write_small_tables};
use super::meta::Meta;
use super::part::{PartReader, Position, Row, Trailer, first_checksum};
use super::row::{HistoryRow, LatestRow};
use super::snapshot::Snapshot;
use super::tables::{
    self, HISTORY_NUMBER, LATEST_NUMBER, LEASE_KEY_NUMBER, SENT_TABLES, Visitor, fits,
};

/// Bytes of parts after which what was received is made durable. redb remembers each page since the
/// last durable commit, and this keeps that to a few megabytes of memory.
const DURABLE_BYTES: u64 = 256 << 20;

/// Why a part, or all of them, were not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is not what has to come next. What was received before is still there.
    #[error("the part of the state is refused: {0}")]
    Refused(String),
    /// What was received does not make up the state. It was dropped.
    #[error("the received state is refused and must be sent again: {0}")]
    Incomplete(String),
    /// Another stream goes on with it, or with something else.
    #[error("another stream has taken over")]
    TakenOver,
    /// It cannot be stored here. What was received was dropped.
    #[error("the state cannot be received: {0}")]
    Storage(#[from] Fault),
}

/// What is being received, if anything.
#[derive(Default)]
pub(super) struct Receiving {
    /// Which stream may add to it.
    turn: u64,
    half: Option<Half>,
    /// When it was in use last.
    used: Option<Instant>,
}

impl Receiving {
    /// Gives the half with this name to a new stream. Any other is dropped, and begun with `begin`.
    pub(super) fn open(
        receiving: &Arc<Mutex<Self>>,
        id: &str,
        begin: impl FnOnce() -> Result<Half, Fault>,
    ) -> Result<Incoming, ReceiveError> {
        let mut inner = receiving.lock();
        inner.turn += 1;
        inner.used = Some(Instant::now());
        if inner.half.as_ref().is_none_or(|half| half.id != id) {
            inner.half = None;
            inner.half = Some(begin()?);
        }
        Ok(Incoming { receiving: receiving.clone(), turn: inner.turn })
    }

    /// Drops what was received if nothing has come for that long.
    pub(super) fn drop_old(&mut self, age: Duration) {
        if self.half.is_some() && self.used.is_none_or(|used| used.elapsed() >= age) {
            tracing::info!("a snapshot that was received in part is dropped");
            self.drop_half();
        }
    }

    /// Drops what is being received.
    pub(super) fn drop_half(&mut self) {
        self.turn += 1;
        self.half = None;
    }

    fn half(&mut self, turn: u64) -> Result<&mut Half, ReceiveError> {
        if self.turn != turn {
            return Err(ReceiveError::TakenOver);
        }
        self.used = Some(Instant::now());
        self.half.as_mut().ok_or(ReceiveError::TakenOver)
    }
}

/// A state that is being received, in the hands of one stream. Dropping it keeps what was received.
pub struct Incoming {
    receiving: Arc<Mutex<Receiving>>,
    turn: u64,
}

impl Incoming {
    /// How far it has come: what is to be sent next begins here.
    pub fn position(&self) -> Result<Position, ReceiveError> {
        Ok(self.receiving.lock().half(self.turn)?.position.clone())
    }

    /// Adds the next part. Writes to the disk, which blocks.
    pub fn add(&mut self, content: &[u8]) -> Result<(), ReceiveError> {
        let mut receiving = self.receiving.lock();
        let added = receiving.half(self.turn)?.add(content);
        if matches!(added, Err(ReceiveError::Storage(_))) {
            receiving.drop_half();
        }
        added
    }

    /// Makes the state complete and durable when the last part was added. It is not in use yet.
    pub fn finish(self) -> Result<Received, ReceiveError> {
        let mut receiving = self.receiving.lock();
        let half = receiving.half(self.turn)?;
        if half.trailer.is_none() {
            let parts = half.position.parts;
            return Err(ReceiveError::Refused(format!("there is more after {parts} parts")));
        }
        let half = receiving.half.take().expect("it was there just now");
        drop(receiving);
        half.finish()
    }
}

/// What was received up to some part.
pub(super) struct Half {
    id: String,
    database: Arc<Database>,
    /// Removed when it is dropped before it is complete; after the database in it.
    file: NewFile,
    /// For the database when it is complete; while rows are only appended, little does.
    cache_bytes: usize,
    position: Position,
    checksum: u32,
    bytes: u64,
    trailer: Option<Trailer>,
}

impl Half {
    /// Begins with nothing, in a new database.
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
            position: Position::default(),
            checksum: first_checksum(id),
            bytes: 0,
            trailer: None,
        })
    }

    fn add(&mut self, content: &[u8]) -> Result<(), ReceiveError> {
        let refused = ReceiveError::Refused;
        if self.trailer.is_some() {
            return Err(refused("it comes after the last one".to_owned()));
        }
        // The log needs what is left, more than this.
        if let Ok(disk) = self.file.disk()
            && disk.free < disk.margin() + content.len() as u64
        {
            let free = disk.free;
            return Err(fault(format!("No space left on device: {free} bytes are free")).into());
        }
        let mut part = PartReader::open(content, self.position.parts, self.checksum);
        let part = part.as_mut().map_err(|what| refused(std::mem::take(what)))?;
        let bytes = self.bytes + content.len() as u64;
        let mut txn = self.database.begin_write().map_err(fault)?;
        if bytes / DURABLE_BYTES == self.bytes / DURABLE_BYTES {
            txn.set_durability(Durability::None).map_err(fault)?;
        }
        let mut last = None;
        let mut next = part.row().map_err(refused)?;
        while let Some(row) = next {
            let append = Append { txn: &txn, row, part };
            let appended = tables::visit(row.table, append)
                .unwrap_or_else(|| Err(refused(format!("there is no table {}", row.table))));
            let (end, behind) = appended?;
            (last, next) = (Some(end), behind);
        }
        let trailer = part.clone().trailer().map_err(refused)?;
        txn.commit().map_err(fault)?;
        if let Some(row) = last {
            self.position.table = row.table;
            self.position.key = Bytes::copy_from_slice(row.key);
        }
        self.position.parts += 1;
        (self.checksum, self.bytes, self.trailer) = (part.checksum, bytes, trailer);
        Ok(())
    }

    fn finish(self) -> Result<Received, ReceiveError> {
        let Trailer { rows, tables, meta } = self.trailer.expect("the caller saw it");
        let txn = begin(&self.database)?;
        for (table, expected) in SENT_TABLES.zip(rows) {
            let count = Count(&txn);
            let found = tables::visit(table, count).expect("tables are numbered without gaps")?;
            if found != expected && !planted::has(Mistake::IncompleteSnapshot) {
                let what = format!("table {table} has {found} rows of {expected}");
                return Err(ReceiveError::Incomplete(what));
            }
        }
        write_small_tables(&txn, &tables)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        drop(self.database);
        // As a restart would, before anything depends on it.
        let database = self.file.open(self.cache_bytes)?;
        let base = Arc::new(Snapshot::open(&database)?);
        let restored = base.restored()?;
        Ok(Received { base, restored, database, file: self.file })
    }
}

/// Appends rows of one table until the part has a row of another one.
struct Append<'p, 'a> {
    txn: &'p WriteTransaction,
    /// The first of them.
    row: Row<'a>,
    part: &'p mut PartReader<'a>,
}

impl<'a> Visitor for Append<'_, 'a> {
    /// The last of them, and the first of the other table.
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
                let what = format!("a row does not fit into table {}", row.table);
                return Err(ReceiveError::Refused(what));
            }
            check_row(row).map_err(ReceiveError::Refused)?;
            let (key, value) = (K::from_bytes(row.key), V::from_bytes(row.value));
            match end.insert_before(key, value) {
                Ok(()) => {}
                Err(CursorError::UnorderedKey) => {
                    let what = format!("the rows of table {} are not in order", row.table);
                    return Err(ReceiveError::Refused(what));
                }
                Err(error) => return Err(fault(error).into()),
            }
            match self.part.row().map_err(ReceiveError::Refused)? {
                Some(next) if next.table == row.table => row = next,
                next => break next,
            }
        };
        end.close().map_err(fault)?;
        Ok((row, next))
    }
}

/// A row that nobody could read must not be installed: who reads it ends.
fn check_row(row: Row<'_>) -> Result<(), String> {
    let read = match row.table {
        HISTORY_NUMBER => {
            let key = row.key.try_into().map_err(|_| "a revision has another length".to_owned())?;
            HistoryRow::decode(key, row.value).map(drop)
        }
        LATEST_NUMBER => LatestRow::decode(row.key, row.value).map(drop),
        LEASE_KEY_NUMBER if row.key.len() < size_of::<i64>() => {
            return Err("a lease's key is cut short".to_owned());
        }
        _ => Ok(()),
    };
    read.map_err(|fault| fault.to_string())
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

/// Another member's state, complete and durable, but not in use. Dropping it removes it.
pub struct Received {
    pub(super) base: Arc<Snapshot>,
    pub(super) restored: Restored,
    pub(super) database: Arc<Database>,
    pub(super) file: NewFile,
}

impl Received {
    /// The last log entry contained.
    pub fn applied(&self) -> Option<LogPosition> {
        self.restored.applied
    }

    /// The raft membership at that entry.
    pub fn membership(&self) -> &Bytes {
        &self.restored.membership
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("applied", &self.applied()).finish_non_exhaustive()
    }
}
