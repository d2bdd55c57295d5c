//! The block index, which counts the keys of a range without reading all of its rows.
//!
//! `latest` is split into blocks of consecutive rows. The index has for each block its first key,
//! the number of keys that exist in it and the number of its rows, which include tombstones. The
//! count over a range sums whole blocks and reads only rows of the blocks at its two ends.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{End, Fault, KeyRange};
use redb::{ReadableTable, Table, WriteTransaction};

use super::error::fault;
use super::row::LatestRow;
use super::tables::{COUNT, LATEST};

/// A block with more rows is split.
const BLOCK_ROWS_MAX: u32 = 512;
/// Rows of each block after a split, except the last.
const BLOCK_ROWS_NEW: u32 = 320;
/// A block with fewer rows is merged with the next one, if both have at most [`BLOCK_ROWS_NEW`].
const BLOCK_ROWS_MIN: u32 = 128;

const _: () = assert!(BLOCK_ROWS_NEW < BLOCK_ROWS_MAX && BLOCK_ROWS_MIN * 2 < BLOCK_ROWS_NEW);

/// Number of existing keys and of rows in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: u32,
    pub(super) rows: u32,
}

/// The index at one commit.
#[derive(Debug)]
pub(super) struct CountIndex {
    firsts: Vec<Bytes>,
    /// Number of keys in all blocks before each block; the last element is the total.
    before: Vec<i64>,
}

impl CountIndex {
    /// Reads the index from its table.
    pub(super) fn load(
        table: &impl ReadableTable<&'static [u8], (u32, u32)>,
    ) -> Result<Self, Fault> {
        let mut firsts = Vec::new();
        let mut before = vec![0];
        let mut sum = 0;
        for row in table.iter().map_err(fault)? {
            let (first, counts) = row.map_err(fault)?;
            firsts.push(Bytes::copy_from_slice(first.value()));
            sum += i64::from(counts.value().0);
            before.push(sum);
        }
        Ok(Self { firsts, before })
    }

    /// Counts the existing keys in `range`. Calls `count_rows` for ranges within one block.
    pub(super) fn count(
        &self,
        range: &KeyRange,
        mut count_rows: impl FnMut(&KeyRange) -> Result<i64, Fault>,
    ) -> Result<i64, Fault> {
        if range.is_empty() || self.firsts.is_empty() {
            return Ok(0);
        }
        if range.is_single() {
            return count_rows(range);
        }
        let first = self.block_of(&range.start);
        let last = match &range.end {
            End::Before(end) => self.block_of(end),
            End::Single | End::Unbounded => self.firsts.len(),
        };
        if first == last {
            return count_rows(range);
        }
        let mut whole = first;
        let mut count = 0;
        if self.firsts[first] < range.start {
            whole += 1;
            let end = self.firsts.get(whole).map_or(End::Unbounded, |end| End::Before(end.clone()));
            count += count_rows(&KeyRange { start: range.start.clone(), end })?;
        }
        count += self.before[last] - self.before[whole];
        if let Some(start) = self.firsts.get(last) {
            count += count_rows(&KeyRange { start: start.clone(), end: range.end.clone() })?;
        }
        Ok(count)
    }

    /// The block that has `key` or would have it.
    fn block_of(&self, key: &[u8]) -> usize {
        self.firsts.partition_point(|first| first.as_ref() <= key).saturating_sub(1)
    }

    /// First key of the block that has `key` or would have it.
    pub(super) fn first_of(&self, key: &[u8]) -> Bytes {
        self.firsts.get(self.block_of(key)).cloned().unwrap_or_default()
    }
}

/// Changes in the keys and rows of blocks in one transaction, by the blocks' first keys.
#[derive(Debug, Default)]
pub(super) struct CountChanges(BTreeMap<Bytes, (i64, i64)>);

impl CountChanges {
    /// Adds changes in the number of keys and rows to the block of `key`.
    pub(super) fn note(&mut self, index: &CountIndex, key: &[u8], keys: i64, rows: i64) {
        if keys == 0 && rows == 0 {
            return;
        }
        let change = self.0.entry(index.first_of(key)).or_default();
        change.0 += keys;
        change.1 += rows;
    }

    /// Writes the changed blocks, splits blocks that are too large and merges blocks that are too
    /// small.
    pub(super) fn write(self, txn: &WriteTransaction) -> Result<(), Fault> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut table = txn.open_table(COUNT).map_err(fault)?;
        let latest = txn.open_table(LATEST).map_err(fault)?;
        for (first, (keys, rows)) in &self.0 {
            let old = read(&table, first)?.unwrap_or_default();
            let block = Block { keys: plus(old.keys, *keys)?, rows: plus(old.rows, *rows)? };
            write(&mut table, first, block)?;
        }
        for first in self.0.keys() {
            match read(&table, first)? {
                Some(block) if block.rows > BLOCK_ROWS_MAX => split(&mut table, &latest, first)?,
                Some(block) if block.rows < BLOCK_ROWS_MIN => {
                    merge_with_next(&mut table, first, block)?
                }
                // The size is right, or this loop has just merged the block with the one before.
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

type CountTable<'a> = Table<'a, &'static [u8], (u32, u32)>;

fn plus(count: u32, change: i64) -> Result<u32, Fault> {
    u32::try_from(i64::from(count) + change)
        .map_err(|_| Fault::Inconsistent(format!("a block of {count} changes by {change}")))
}

fn read(table: &CountTable<'_>, first: &[u8]) -> Result<Option<Block>, Fault> {
    let row = table.get(first).map_err(fault)?;
    Ok(row.map(|row| {
        let (keys, rows) = row.value();
        Block { keys, rows }
    }))
}

fn write(table: &mut CountTable<'_>, first: &[u8], block: Block) -> Result<(), Fault> {
    table.insert(first, (block.keys, block.rows)).map_err(fault)?;
    Ok(())
}

/// First key of the block after the one that begins at `first`.
fn next_first(table: &CountTable<'_>, first: &[u8]) -> Result<Option<Bytes>, Fault> {
    let start = [first, &[0]].concat();
    let mut rows = table.range(start.as_slice()..).map_err(fault)?;
    let next = rows.next().transpose().map_err(fault)?;
    Ok(next.map(|(key, _)| Bytes::copy_from_slice(key.value())))
}

/// Replaces a block by smaller ones. Reads the rows of the block to count them.
fn split(
    table: &mut CountTable<'_>,
    latest: &impl ReadableTable<&'static [u8], &'static [u8]>,
    first: &[u8],
) -> Result<(), Fault> {
    let end = next_first(table, first)?;
    let mut at = Bytes::copy_from_slice(first);
    let mut block = Block::default();
    for row in latest.range(first..).map_err(fault)? {
        let (key, row) = row.map_err(fault)?;
        let key = key.value();
        if end.as_ref().is_some_and(|end| key >= end.as_ref()) {
            break;
        }
        if block.rows == BLOCK_ROWS_NEW {
            write(table, &at, block)?;
            at = Bytes::copy_from_slice(key);
            block = Block::default();
        }
        block.rows += 1;
        block.keys += u32::from(LatestRow::decode(key, row.value())?.header.version > 0);
    }
    write(table, &at, block)
}

/// Merges a block with the next one, unless the result would be too large.
fn merge_with_next(table: &mut CountTable<'_>, first: &[u8], block: Block) -> Result<(), Fault> {
    let Some(next) = next_first(table, first)? else { return Ok(()) };
    let next_block = read(table, &next)?.unwrap_or_default();
    if block.rows + next_block.rows > BLOCK_ROWS_NEW {
        return Ok(());
    }
    table.remove(next.as_ref()).map_err(fault)?;
    let merged = Block { keys: block.keys + next_block.keys, rows: block.rows + next_block.rows };
    write(table, first, merged)
}
