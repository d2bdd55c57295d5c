//! The database at one commit, to send to another member as a snapshot.

use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_core::planted::{self, Mistake};
use quorate_core::{Fault, LogPosition};
use redb::{Key, ReadOnlyTable, ReadableTableMetadata, TableDefinition, Value};

use super::fault;
use super::part::{PART_BYTES, Part, PartWriter, Position, Trailer, first_checksum};
use super::row::{HistoryRow, LatestRow};
use super::snapshot::Snapshot;
use super::tables::{self, SENT_TABLES, Visitor, fits};

/// The end of a part that was made.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Checksum of the part, which also covers all parts before it.
    checksum: u32,
    /// Checksum of the position after the part.
    position: u32,
    is_last: bool,
}

/// The ends of all parts that were made of a commit, so that the sender can continue after any of
/// them. A few bytes for each megabyte of the database.
pub(super) struct Sent {
    /// Identifies the commit while the process runs.
    id: u64,
    marks: Mutex<Vec<Mark>>,
}

impl Default for Sent {
    fn default() -> Self {
        Self { id: RandomState::new().hash_one(()), marks: Mutex::default() }
    }
}

/// The state at one commit of the database, for another member. A clone shares it.
///
/// Taking an image costs nothing, and later writes do not change it. But while an image exists, the
/// database cannot reuse the pages of its commit: the file grows by all pages that flushes and
/// compactions write meanwhile. Reading an image also evicts other pages from the cache.
#[derive(Clone)]
pub struct Image(Arc<Snapshot>);

impl Image {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(snapshot)
    }

    /// A random id of the commit, by which a receiver recognizes the parts that it has. Images of
    /// the same commit have the same id.
    pub fn id(&self) -> String {
        format!("{:016x}", self.0.sent().id)
    }

    /// The last log entry in the image; `None` if it has none.
    pub fn applied(&self) -> Option<LogPosition> {
        self.0.meta().applied
    }

    /// The Raft membership at that entry, opaque here.
    pub fn membership(&self) -> &Bytes {
        &self.0.meta().membership
    }

    /// The parts after `after`, the position of a receiver of this image. The default position
    /// gives all parts, the position after the last part gives none. Does not read earlier parts.
    ///
    /// `None` if no part of this image ends at `after`: the receiver must start again.
    pub fn parts(&self, after: Position) -> Option<Parts> {
        self.parts_of(after, PART_BYTES)
    }

    /// Like [`Image::parts`], with parts of about `bytes` bytes.
    pub(super) fn parts_of(&self, after: Position, bytes: usize) -> Option<Parts> {
        let mark = match after.parts.checked_sub(1) {
            None if after == Position::default() => None,
            None => return None,
            Some(last) => {
                let marks = self.0.sent().marks.lock();
                let mark = usize::try_from(last).ok().and_then(|last| marks.get(last).copied());
                Some(mark.filter(|mark| mark.position == after.checksum())?)
            }
        };
        Some(Parts {
            snapshot: self.0.clone(),
            bytes,
            at: after,
            checksum: mark.map_or_else(|| first_checksum(&self.id()), |mark| mark.checksum),
            is_done: mark.is_some_and(|mark| mark.is_last),
        })
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("id", &self.id()).field("applied", &self.applied()).finish()
    }
}

/// Reads an image part by part. The same position always gives the same parts. Each call of `next`
/// reads a part from disk, which blocks. A part ends with the row that makes it [`PART_BYTES`] long
/// or longer. The iterator ends after a fault.
pub struct Parts {
    snapshot: Arc<Snapshot>,
    bytes: usize,
    at: Position,
    checksum: u32,
    is_done: bool,
}

impl Iterator for Parts {
    type Item = Result<Part, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let part = self.make();
        self.is_done = part.as_ref().map_or(true, |part| part.is_last);
        Some(part)
    }
}

impl Parts {
    fn make(&mut self) -> Result<Part, Fault> {
        let number = self.at.parts;
        let mut part = PartWriter::new(number, self.bytes);
        for table in self.at.table.max(*SENT_TABLES.start())..=*SENT_TABLES.end() {
            let behind = (self.at.table == table).then_some(&self.at.key);
            let fill = Fill { snapshot: &self.snapshot, table, behind, part: &mut part };
            tables::visit(table, fill).expect("tables are numbered without gaps")?;
            if part.is_full() {
                break;
            }
        }
        let is_last = !part.is_full();
        if is_last {
            part.trailer(&self.trailer()?);
        }
        if let Some((table, key)) = part.last_row() {
            self.at.table = table;
            self.at.key = Bytes::copy_from_slice(key);
        }
        let (content, checksum) = part.finish(self.checksum);
        self.at.parts = number + 1;
        self.checksum = checksum;
        let mut marks = self.snapshot.sent().marks.lock();
        if marks.len() as u64 == number {
            marks.push(Mark { checksum, position: self.at.checksum(), is_last });
        }
        Ok(Part { number, content, is_last })
    }

    /// The trailer of the last part. Its row counts are those of the tables, not the number of rows
    /// sent, so that the receiver notices missing rows.
    fn trailer(&self) -> Result<Trailer, Fault> {
        let mut trailer = Trailer {
            rows: Default::default(),
            tables: self.snapshot.restored()?.tables,
            meta: self.snapshot.meta().clone(),
        };
        for (table, rows) in SENT_TABLES.zip(&mut trailer.rows) {
            let count = Count(&self.snapshot);
            *rows = tables::visit(table, count).expect("tables are numbered without gaps")?;
        }
        Ok(trailer)
    }
}

/// Adds the rows of a table, or those after the key `behind`, to a part until it is full.
struct Fill<'a> {
    snapshot: &'a Snapshot,
    table: u32,
    behind: Option<&'a Bytes>,
    part: &'a mut PartWriter,
}

impl Visitor for Fill<'_> {
    type Output = Result<(), Fault>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        let source: ReadOnlyTable<K, V> = self.snapshot.txn().open_table(table).map_err(fault)?;
        let start = match self.behind {
            None => Bound::Unbounded,
            Some(key) if fits::<K>(key) => Bound::Excluded(K::from_bytes(key)),
            Some(_) => return Err(fault("the key of a position does not fit its table")),
        };
        let rows = source.range::<K::SelfType<'_>>((start, Bound::Unbounded)).map_err(fault)?;
        for row in rows {
            let (key, value) = row.map_err(fault)?;
            let key = key.value();
            let value = value.value();
            let key = K::as_bytes(&key);
            let value = V::as_bytes(&value);
            verify(self.table, key.as_ref(), value.as_ref())?;
            if planted::once_in(Mistake::IncompleteSnapshot, 20) {
                continue;
            }
            self.part.row(self.table, key.as_ref(), value.as_ref());
            if self.part.is_full() {
                break;
            }
        }
        Ok(())
    }
}

/// Checks the checksum of a row, so that a damaged row is not sent.
fn verify(table: u32, key: &[u8], row: &[u8]) -> Result<(), Fault> {
    match table {
        tables::HISTORY_NUMBER => {
            let revision = key.try_into().map_err(|_| fault("a revision has the wrong width"))?;
            HistoryRow::decode(revision, row).map(|_| ())
        }
        tables::LATEST_NUMBER => LatestRow::decode(key, row).map(|_| ()),
        _ => Ok(()),
    }
}

/// Returns the number of rows of a table without reading them.
struct Count<'a>(&'a Snapshot);

impl Visitor for Count<'_> {
    type Output = Result<u64, Fault>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        self.0.txn().open_table(table).map_err(fault)?.len().map_err(fault)
    }
}
