//! Receiving another member's state into a new database file beside the one in use.
//!
//! ```text
//!   receive ---> add, add, ... ---> finish ---> Received ---> Engine::install
//!      ^            |  the stream breaks
//!      +------------+  the next stream continues where it ended
//! ```
//!
//! A partly received state outlives its stream, but not the process: a start removes its file. So
//! receiving needs no bookkeeping on disk and little memory.

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

/// Bytes of parts after which a commit is durable. redb keeps each page since the last durable
/// commit in a list, which this bounds to a few megabytes of memory.
const DURABLE_BYTES: u64 = 256 << 20;

/// Why a part or a whole state was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The part is damaged or is not the next one. The parts received before are kept.
    #[error("refused a part of the state: {0}")]
    Refused(String),
    /// The parts do not make up the whole state. They were dropped.
    #[error("the received state is incomplete and must be sent again: {0}")]
    Incomplete(String),
    /// Another stream receives this state or another one, or the state was dropped.
    #[error("another stream has taken over")]
    TakenOver,
    /// The state cannot be stored. The parts were dropped.
    #[error("cannot store the received state: {0}")]
    Storage(#[from] Fault),
}

/// The state that is being received, if any.
#[derive(Default)]
pub(super) struct Receiving {
    /// Number of the stream that may add parts.
    turn: u64,
    half: Option<Half>,
    /// When a stream last used it.
    used: Option<Instant>,
}

impl Receiving {
    /// Gives the partly received state `id` to a new stream. Any other state is dropped and a new
    /// one is started with `begin`.
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

    /// Drops the partly received state if no stream has used it for `age`.
    pub(super) fn drop_old(&mut self, age: Duration) {
        if self.half.is_some() && self.used.is_none_or(|used| used.elapsed() >= age) {
            tracing::info!("dropped a partly received snapshot");
            self.drop_half();
        }
    }

    /// Drops the partly received state.
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

/// A stream's access to the state that is being received. Dropping it keeps the received parts.
pub struct Incoming {
    receiving: Arc<Mutex<Receiving>>,
    turn: u64,
}

impl Incoming {
    /// The position after the last received part, from which the sender must continue.
    pub fn position(&self) -> Result<Position, ReceiveError> {
        Ok(self.receiving.lock().half(self.turn)?.position.clone())
    }

    /// Adds the next part. Blocks while it writes to disk.
    pub fn add(&mut self, content: &[u8]) -> Result<(), ReceiveError> {
        let mut receiving = self.receiving.lock();
        let added = receiving.half(self.turn)?.add(content);
        if matches!(added, Err(ReceiveError::Storage(_))) {
            receiving.drop_half();
        }
        added
    }

    /// Makes the state complete and durable, after the last part was added. It is not in use yet.
    pub fn finish(self) -> Result<Received, ReceiveError> {
        let mut receiving = self.receiving.lock();
        let half = receiving.half(self.turn)?;
        if half.trailer.is_none() {
            let parts = half.position.parts;
            return Err(ReceiveError::Refused(format!("the state has more than {parts} parts")));
        }
        let half = receiving.half.take().expect("`half` returned it");
        drop(receiving);
        half.finish()
    }
}

/// A partly received state.
pub(super) struct Half {
    id: String,
    database: Arc<Database>,
    /// Dropping it removes the file. It is below `database`, so that the database is closed first.
    file: NewFile,
    /// Cache size of the complete database. Appending rows needs only a part of it.
    cache_bytes: usize,
    position: Position,
    checksum: u32,
    bytes: u64,
    trailer: Option<Trailer>,
}

impl Half {
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
            position: Position::default(),
            checksum: first_checksum(id),
            bytes: 0,
            trailer: None,
        })
    }

    fn add(&mut self, content: &[u8]) -> Result<(), ReceiveError> {
        let refused = ReceiveError::Refused;
        if self.trailer.is_some() {
            return Err(refused("it comes after the last part".to_owned()));
        }
        // Leave the margin to the log, which needs the space more than this.
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
            last = Some(end);
            next = behind;
        }
        let trailer = part.clone().trailer().map_err(refused)?;
        txn.commit().map_err(fault)?;
        if let Some(row) = last {
            self.position.table = row.table;
            self.position.key = Bytes::copy_from_slice(row.key);
        }
        self.position.parts += 1;
        self.checksum = part.checksum;
        self.bytes = bytes;
        self.trailer = trailer;
        Ok(())
    }

    fn finish(self) -> Result<Received, ReceiveError> {
        let Trailer { rows, tables, meta } = self.trailer.expect("the caller checked it");
        let txn = begin(&self.database)?;
        for (table, expected) in SENT_TABLES.zip(rows) {
            let count = Count(&txn);
            let found = tables::visit(table, count).expect("tables are numbered without gaps")?;
            if found != expected && !planted::has(Mistake::IncompleteSnapshot) {
                let what = format!("table {table} has {found} of {expected} rows");
                return Err(ReceiveError::Incomplete(what));
            }
        }
        write_small_tables(&txn, &tables)?;
        write_meta(&txn, &meta)?;
        txn.commit().map_err(fault)?;
        drop(self.database);
        // Open the file again as a restart would, before anything depends on it.
        let database = self.file.open(self.cache_bytes)?;
        let base = Arc::new(Snapshot::open(&database)?);
        let restored = base.restored()?;
        Ok(Received { base, restored, database, file: self.file })
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
                let what = format!("a row does not fit into table {}", row.table);
                return Err(ReceiveError::Refused(what));
            }
            check_row(row).map_err(ReceiveError::Refused)?;
            let key = K::from_bytes(row.key);
            let value = V::from_bytes(row.value);
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

/// Checks that a row can be decoded: a member stops when it reads a row that cannot.
fn check_row(row: Row<'_>) -> Result<(), String> {
    let read = match row.table {
        HISTORY_NUMBER => {
            let key = row.key.try_into().map_err(|_| "a revision has a wrong length".to_owned())?;
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

/// Another member's complete and durable state, which is not in use yet. Dropping it removes its
/// file.
pub struct Received {
    pub(super) base: Arc<Snapshot>,
    pub(super) restored: Restored,
    pub(super) database: Arc<Database>,
    pub(super) file: NewFile,
}

impl Received {
    /// The last log entry in the state.
    pub fn applied(&self) -> Option<LogPosition> {
        self.restored.applied
    }

    /// The Raft membership at that entry, opaque here.
    pub fn membership(&self) -> &Bytes {
        &self.restored.membership
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").field("applied", &self.applied()).finish_non_exhaustive()
    }
}
