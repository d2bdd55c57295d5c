//! The database at one commit, to be sent to another member.

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

/// Where a part that was made ends.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The part's own checksum, which covers all before it too.
    checksum: u32,
    /// Of the place of its last row.
    position: u32,
    is_last: bool,
}

/// What was made of a commit so far: with it a receiver that has some of the parts can be sent the
/// rest. A few bytes for each megabyte of the database.
pub(super) struct Sent {
    /// Names the commit, for as long as the process runs.
    id: u64,
    marks: Mutex<Vec<Mark>>,
}

impl Default for Sent {
    fn default() -> Self {
        Self { id: RandomState::new().hash_one(()), marks: Mutex::default() }
    }
}

/// The state at one commit of the database, for another member. Cloning shares it.
///
/// Taking it costs nothing, and nothing that is written later changes it. But as long as it is kept
/// the pages of its commit are not used again: the file grows by what is written meanwhile, the
/// more so by what compactions give up. Reading it also puts other pages out of the cache.
#[derive(Clone)]
pub struct Image(Arc<Snapshot>);

impl Image {
    pub(super) fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(snapshot)
    }

    /// A name under which a receiver finds again what it has of this image: no other commit and no
    /// other member has it.
    pub fn id(&self) -> String {
        format!("{:016x}", self.0.sent().id)
    }

    /// The last log entry contained; `None` in a database that never held any.
    pub fn applied(&self) -> Option<LogPosition> {
        self.0.meta().applied
    }

    /// The raft membership at that entry, as the state machine gave it.
    pub fn membership(&self) -> &Bytes {
        &self.0.meta().membership
    }

    /// The parts behind `after`, which is what a receiver says of its half of this very image; all
    /// of them for the default, none when it has the last. Costs no walk over what comes before.
    ///
    /// `None` for a position that no part of this image ends at: the receiver must drop its half.
    pub fn parts(&self, after: Position) -> Option<Parts> {
        self.parts_of(after, PART_BYTES)
    }

    /// Parts that end after so many bytes.
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

/// Reads an image part by part. The same position always gives the same parts. Each is read from
/// disk when it is asked for, which blocks, and ends with the row that makes it [`PART_BYTES`] long
/// or longer. After a fault there is nothing more.
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
            (self.at.table, self.at.key) = (table, Bytes::copy_from_slice(key));
        }
        let (content, checksum) = part.finish(self.checksum);
        (self.at.parts, self.checksum) = (number + 1, checksum);
        let mut marks = self.snapshot.sent().marks.lock();
        if marks.len() as u64 == number {
            marks.push(Mark { checksum, position: self.at.checksum(), is_last });
        }
        Ok(Part { number, content, is_last })
    }

    /// The counts come from the tables and not from this walk, which might have missed something.
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

/// Puts the rows of a table, or those behind a key, into a part until it is full.
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
            Some(_) => return Err(fault("a position names no key of its table")),
        };
        let rows = source.range::<K::SelfType<'_>>((start, Bound::Unbounded)).map_err(fault)?;
        for row in rows {
            let (key, value) = row.map_err(fault)?;
            let (key, value) = (key.value(), value.value());
            let (key, value) = (K::as_bytes(&key), V::as_bytes(&value));
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

/// Keeps damage from spreading: what fails its checksum is not sent.
fn verify(table: u32, key: &[u8], row: &[u8]) -> Result<(), Fault> {
    match table {
        tables::HISTORY_NUMBER => {
            let revision = key.try_into().map_err(|_| fault("a revision has another width"))?;
            HistoryRow::decode(revision, row).map(|_| ())
        }
        tables::LATEST_NUMBER => LatestRow::decode(key, row).map(|_| ()),
        _ => Ok(()),
    }
}

/// Counts the rows of a table, without walking over it.
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
