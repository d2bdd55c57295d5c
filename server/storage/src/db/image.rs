//! The database at one commit, to send to another member as a snapshot.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::planted::{self, Mistake};
use quorate_core::{Fault, LogPosition};
use redb::{Key, ReadOnlyTable, ReadableTableMetadata, TableDefinition, Value};

use super::error::{Problem, fault};
use super::estimate::TableSize;
use super::part::{
    PART_BYTES, Part, PartPosition, PartWriter, ROW_HEADER_LEN, Trailer, first_checksum,
};
use super::read_txn::ReadTxn;
use super::row::{HistoryRow, LatestRow};
use super::tables::{self, SENT_TABLES, Visitor, fits};

/// The state at one commit of the database, for another member. A clone shares it.
///
/// Taking an image costs nothing, and later writes do not change it. But until the image is
/// dropped, the database cannot reuse the pages of the image's commit, and the file grows by all
/// pages that flushes and compactions write. Reading an image also evicts other pages from the
/// cache.
#[derive(Clone)]
pub struct Image(Arc<ReadTxn>);

impl Image {
    pub(super) fn new(source: Arc<ReadTxn>) -> Self {
        Self(source)
    }

    /// A random id of the commit. A receiver uses the id to recognize the parts that it already
    /// has. Images of the same commit have the same id.
    pub fn id(&self) -> String {
        self.0.sent().id()
    }

    /// The last log entry in the image, if it has one.
    pub fn applied(&self) -> Option<LogPosition> {
        self.0.meta().applied
    }

    /// The Raft membership as of the last log entry in the image. This crate does not decode it.
    pub fn membership(&self) -> &Bytes {
        &self.0.meta().membership
    }

    /// The approximate total size of all parts in bytes; `None` if the database cannot be read.
    /// The size does not include the small tables.
    pub fn bytes(&self) -> Option<u64> {
        let (latest, history) = self.0.rows().ok()?;
        let sent = |table: TableSize| table.bytes + table.count * ROW_HEADER_LEN;
        Some(sent(latest) + sent(history))
    }

    /// The parts that a receiver at position `after` still needs: all parts if `after` is the
    /// default position, and none if it is the end of the last part. Does not read earlier parts.
    ///
    /// Returns `None` if no part of this image ends at `after`: the receiver must start again.
    pub fn parts(&self, after: PartPosition) -> Option<Parts> {
        self.parts_of(after, PART_BYTES)
    }

    /// Like [`Image::parts`], with parts of about `bytes` bytes.
    pub(super) fn parts_of(&self, after: PartPosition, bytes: usize) -> Option<Parts> {
        let last = if after == PartPosition::default() {
            None
        } else {
            Some(self.0.sent().end_at(&after)?)
        };
        Some(Parts {
            source: self.0.clone(),
            bytes,
            at: after,
            checksum: last.map_or_else(|| first_checksum(&self.id()), |last| last.checksum),
            is_done: last.is_some_and(|last| last.is_last),
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
    source: Arc<ReadTxn>,
    bytes: usize,
    at: PartPosition,
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
        let mut part = PartWriter::new(self.source.meta().format, number, self.bytes);
        for table in self.at.table.max(*SENT_TABLES.start())..=*SENT_TABLES.end() {
            let after = (self.at.table == table).then_some(&self.at.key);
            let fill = Fill { source: &self.source, table, after, part: &mut part };
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
        self.source.sent().record(&self.at, checksum, is_last);
        Ok(Part { number, content, is_last })
    }

    /// The trailer of the last part. Its row counts are those of the tables, not the number of rows
    /// sent, so that the receiver notices missing rows.
    fn trailer(&self) -> Result<Trailer, Fault> {
        let mut trailer = Trailer {
            rows: Default::default(),
            tables: self.source.restored()?.tables,
            meta: self.source.meta().clone(),
        };
        for (table, rows) in SENT_TABLES.zip(&mut trailer.rows) {
            let count = Count(&self.source);
            *rows = tables::visit(table, count).expect("tables are numbered without gaps")?;
        }
        Ok(trailer)
    }
}

/// Adds the rows of a table, or those after the key `after`, to a part until it is full.
struct Fill<'a> {
    source: &'a ReadTxn,
    table: u32,
    after: Option<&'a Bytes>,
    part: &'a mut PartWriter,
}

impl Visitor for Fill<'_> {
    type Output = Result<(), Fault>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        let opened: ReadOnlyTable<K, V> = self.source.txn().open_table(table).map_err(fault)?;
        let start = match self.after {
            None => Bound::Unbounded,
            Some(key) if fits::<K>(key) => Bound::Excluded(K::from_bytes(key)),
            Some(_) => return Err(Problem::PositionKey.into()),
        };
        let rows = opened.range::<K::SelfType<'_>>((start, Bound::Unbounded)).map_err(fault)?;
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

/// Checks the checksum of a row, so that a damaged row is not sent. Only the rows of the history
/// and latest tables have a checksum.
fn verify(table: u32, key: &[u8], row: &[u8]) -> Result<(), Fault> {
    match table {
        tables::HISTORY_NUMBER => {
            let revision = key.try_into().map_err(|_| Problem::RevisionWidth)?;
            HistoryRow::decode(revision, row).map(|_| ())
        }
        tables::LATEST_NUMBER => LatestRow::decode(key, row).map(|_| ()),
        _ => Ok(()),
    }
}

/// Returns the number of rows of a table without reading them.
struct Count<'a>(&'a ReadTxn);

impl Visitor for Count<'_> {
    type Output = Result<u64, Fault>;

    fn visit<K: Key + 'static, V: Value + 'static>(
        self,
        table: TableDefinition<'static, K, V>,
    ) -> Self::Output {
        self.0.txn().open_table(table).map_err(fault)?.len().map_err(fault)
    }
}
