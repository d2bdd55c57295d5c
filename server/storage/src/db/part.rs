//! The format of a snapshot between members: a sequence of parts.
//!
//! ```text
//!   part      checksum | data format | number | rows | (in the last) trailer
//!   row       table | key length | value length | key | value
//!   trailer   255 | rows in each table | alarms | members | removed | users | description
//! ```
//!
//! The trailer has users and roles only in a snapshot of the data format that has them.
//!
//! Numbers are little endian and of fixed width. The checksum of a part continues the checksum of
//! the part before it; the checksum of the first part continues from the image's id. So a part
//! fails its checksum if it is damaged, is not the next part, or belongs to another image. The
//! checksum of the last part covers all parts.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use quorate_core::Fault;
use quorate_core::tables::{MemberAttributes, Tables};

use super::auth;
use super::meta::{Meta, MetaError};
use super::tables::SENT_TABLES;
use crate::format::{OtherFormat, USERS_FORMAT};

/// A part ends with the first row that makes it this long or longer. The sender and the receiver
/// each spend about a millisecond on such a part.
pub const PART_BYTES: usize = 1 << 20;
/// Marks the trailer, in place of a table's number.
const TRAILER: u8 = u8::MAX;
/// Number of tables that are sent row by row.
const TABLES: usize = (*SENT_TABLES.end() - *SENT_TABLES.start() + 1) as usize;

const HEADER_LEN: usize = 4 + 4 + 8;
/// Bytes of a row's table number and lengths.
pub(super) const ROW_HEADER_LEN: u64 = 1 + 4 + 4;

/// Why a part of a snapshot is refused.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The part has no header.
    #[error("it is too short")]
    TooShort,
    /// Another version of Quorate made the part.
    #[error(transparent)]
    Format(#[from] OtherFormat),
    /// The part is not the next one.
    #[error("it is part {found}, but the next part is {expected}")]
    Number {
        /// Number of the part.
        found: u64,
        /// Number of the next part.
        expected: u64,
    },
    /// The part is damaged, or belongs to another snapshot.
    #[error("it is damaged or does not follow the part before")]
    Checksum,
    /// A row reaches beyond the end of the part.
    #[error("a row is cut off")]
    RowCutOff,
    /// The trailer reaches beyond the end of the part.
    #[error("its trailer is cut off")]
    TrailerCutOff,
    /// The trailer's description of the database cannot be used.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// No table has this number.
    #[error("there is no table {0}")]
    UnknownTable(u32),
    /// The key or the value of a row has the wrong width for its table.
    #[error("a row does not fit into table {0}")]
    RowWidth(u32),
    /// The rows of a table do not ascend.
    #[error("the rows of table {0} are not in order")]
    Unordered(u32),
    /// The key of a row that attaches a key to a lease is too short for the lease's id.
    #[error("a row that attaches a key to a lease is too short")]
    LeaseKey,
    /// A row fails its checksum.
    #[error(transparent)]
    Row(Fault),
    /// The snapshot was complete before this part.
    #[error("it comes after the last part")]
    AfterLast,
    /// The stream ended after this many parts, but the snapshot has more.
    #[error("the snapshot has more than {0} parts")]
    MissingParts(u64),
}

/// The checksum that the first part of an image continues.
pub(super) fn first_checksum(id: &str) -> u32 {
    crc32c(id.as_bytes())
}

/// The position between two parts of an image. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartPosition {
    /// Number of parts before the position.
    pub parts: u64,
    /// Number of the last row's table; 0 before the first row.
    pub table: u32,
    /// Key of the last row.
    pub key: Bytes,
}

impl PartPosition {
    /// A checksum over the table and key of the last row.
    pub(super) fn checksum(&self) -> u32 {
        crc32c_append(crc32c(&self.table.to_le_bytes()), &self.key)
    }
}

/// A part of a snapshot.
#[derive(Clone, Debug)]
pub struct Part {
    /// Number of the part, from 0.
    pub number: u64,
    /// The encoded part.
    pub content: Bytes,
    /// Whether this is the last part.
    pub is_last: bool,
}

/// The end of the last part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    /// Number of rows of each sent table, ascending by the table's number.
    pub(super) rows: [u64; TABLES],
    /// Alarms, members and removed ids; leases are sent as rows.
    pub(super) tables: Tables,
    pub(super) meta: Meta,
}

/// A part that is being encoded.
pub(super) struct PartWriter {
    out: Vec<u8>,
    /// Length at which the part is full.
    bytes: usize,
    /// Table of the last row, and the range of its key in `out`.
    last: Option<(u32, Range<usize>)>,
}

impl PartWriter {
    /// Begins part `number` of a snapshot of this data format.
    pub(super) fn new(format: u32, number: u64, bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes + bytes / 8);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        Self { out, bytes, last: None }
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= self.bytes
    }

    pub(super) fn row(&mut self, table: u32, key: &[u8], value: &[u8]) {
        let out = &mut self.out;
        out.push(u8::try_from(table).expect("tables have small numbers"));
        put_length(out, key.len());
        put_length(out, value.len());
        self.last = Some((table, out.len()..out.len() + key.len()));
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }

    /// Table and key of the last row.
    pub(super) fn last_row(&self) -> Option<(u32, &[u8])> {
        self.last.as_ref().map(|(table, key)| (*table, &self.out[key.clone()]))
    }

    pub(super) fn trailer(&mut self, trailer: &Trailer) {
        let out = &mut self.out;
        out.push(TRAILER);
        for rows in trailer.rows {
            out.extend_from_slice(&rows.to_le_bytes());
        }
        put_length(out, trailer.tables.alarms.len());
        for (kind, member) in &trailer.tables.alarms {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&member.to_le_bytes());
        }
        put_length(out, trailer.tables.members.len());
        for (id, member) in &trailer.tables.members {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&member.incarnation.to_le_bytes());
            put_text(out, &member.name);
            put_length(out, member.client_urls.len());
            member.client_urls.iter().for_each(|url| put_text(out, url));
        }
        put_length(out, trailer.tables.removed.len());
        for id in &trailer.tables.removed {
            out.extend_from_slice(&id.to_le_bytes());
        }
        if trailer.meta.format >= USERS_FORMAT {
            let users = auth::encode(&trailer.tables.auth);
            put_length(out, users.len());
            out.extend_from_slice(&users);
        }
        out.extend_from_slice(&trailer.meta.encode());
    }

    /// Completes the part; `before` is the checksum of the part before it. Returns the part and its
    /// checksum.
    pub(super) fn finish(self, before: u32) -> (Bytes, u32) {
        let mut out = self.out;
        let checksum = crc32c_append(before, &out[4..]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        (out.into(), checksum)
    }
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a part is shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// A row in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) table: u32,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// A received part whose checksum is right.
#[derive(Clone, Debug)]
pub(super) struct PartReader<'a> {
    format: u32,
    rest: &'a [u8],
    /// The checksum that the next part continues.
    pub(super) checksum: u32,
}

impl<'a> PartReader<'a> {
    /// Opens part `number`; `before` is the checksum of the part before it.
    ///
    /// # Errors
    /// The part is damaged, or it is not the next one.
    pub(super) fn open(content: &'a [u8], number: u64, before: u32) -> Result<Self, PartError> {
        let header = content.split_first_chunk::<HEADER_LEN>();
        let (header, rest) = header.ok_or(PartError::TooShort)?;
        let mut fields = &header[..];
        let mut word = || u32::from_le_bytes(take(&mut fields).expect("the header has this field"));
        let checksum = word();
        let format = word();
        let found = u64::from_le_bytes(take(&mut fields).expect("the header has this field"));
        OtherFormat::check(format)?;
        if found != number {
            return Err(PartError::Number { found, expected: number });
        }
        if crc32c_append(before, &content[4..]) != checksum {
            return Err(PartError::Checksum);
        }
        Ok(Self { format, rest, checksum })
    }

    /// The next row; `None` after the last row.
    pub(super) fn row(&mut self) -> Result<Option<Row<'a>>, PartError> {
        if self.rest.is_empty() || self.rest[0] == TRAILER {
            return Ok(None);
        }
        self.read_row().map(Some).ok_or(PartError::RowCutOff)
    }

    fn read_row(&mut self) -> Option<Row<'a>> {
        let rest = &mut self.rest;
        let [table] = take(rest)?;
        let key_length = take_length(rest)?;
        let value_length = take_length(rest)?;
        let key = take_bytes(rest, key_length)?;
        let value = take_bytes(rest, value_length)?;
        Some(Row { table: u32::from(table), key, value })
    }

    /// The trailer after the last row; `None` if the part is not the last one.
    pub(super) fn trailer(mut self) -> Result<Option<Trailer>, PartError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (rows, tables) =
            read_tables(&mut self.rest, self.format).ok_or(PartError::TrailerCutOff)?;
        let meta = Meta::decode(self.rest)?;
        meta.check()?;
        Ok(Some(Trailer { rows, tables, meta }))
    }
}

fn read_tables(rest: &mut &[u8], format: u32) -> Option<([u64; TABLES], Tables)> {
    let [TRAILER] = take(rest)? else { return None };
    let mut rows = [0; TABLES];
    for rows in &mut rows {
        *rows = u64::from_le_bytes(take(rest)?);
    }
    let mut tables = Tables::default();
    for _ in 0..take_length(rest)? {
        let kind = i32::from_le_bytes(take(rest)?);
        tables.alarms.insert((kind, u64::from_le_bytes(take(rest)?)));
    }
    for _ in 0..take_length(rest)? {
        let id = u64::from_le_bytes(take(rest)?);
        let incarnation = u64::from_le_bytes(take(rest)?);
        let name = take_text(rest)?;
        let mut member = MemberAttributes { name, client_urls: Vec::new(), incarnation };
        for _ in 0..take_length(rest)? {
            member.client_urls.push(take_text(rest)?);
        }
        tables.members.insert(id, member);
    }
    for _ in 0..take_length(rest)? {
        tables.removed.insert(u64::from_le_bytes(take(rest)?));
    }
    if format >= USERS_FORMAT {
        let length = take_length(rest)?;
        tables.auth = Arc::new(auth::decode(take_bytes(rest, length)?)?);
    }
    Some((rows, tables))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest)?)).ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = take_length(rest)?;
    let text = std::str::from_utf8(take_bytes(rest, length)?).ok()?;
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use quorate_core::LogPosition;

    use super::*;
    use crate::db::tests::users;
    use crate::format::AUTH_FORMAT;

    fn trailer() -> Trailer {
        let member = MemberAttributes {
            name: "one".to_owned(),
            client_urls: vec!["http://a:1".to_owned(), String::new()],
            incarnation: 3,
        };
        let mut tables = Tables::default();
        tables.alarms.extend([(1, 7), (2, u64::MAX)]);
        tables.members.extend([(7, member), (9, MemberAttributes::default())]);
        tables.removed.extend([5, 6]);
        tables.auth = users();
        let applied = Some(LogPosition { term: 2, index: 11 });
        let meta = Meta { format: AUTH_FORMAT, applied, ..Meta::default() };
        Trailer { rows: [1, 0, 3, 4, u64::MAX], tables, meta }
    }

    fn parts() -> [(Bytes, u32); 2] {
        let mut first = PartWriter::new(AUTH_FORMAT, 0, 64);
        first.row(1, b"key", b"value");
        first.row(5, b"", b"");
        let first = first.finish(0);
        let mut second = PartWriter::new(AUTH_FORMAT, 1, 64);
        second.row(2, b"k", b"");
        second.trailer(&trailer());
        let second = second.finish(first.1);
        [first, second]
    }

    #[test]
    fn round_trips() {
        let [first, second] = parts();
        let mut reader = PartReader::open(&first.0, 0, 0).unwrap();
        assert_eq!(reader.checksum, first.1);
        let row = Row { table: 1, key: b"key", value: b"value" };
        assert_eq!(reader.row().unwrap(), Some(row));
        assert_eq!(reader.row().unwrap(), Some(Row { table: 5, key: b"", value: b"" }));
        assert_eq!(reader.row().unwrap(), None);
        assert_eq!(reader.trailer().unwrap(), None);
        let mut reader = PartReader::open(&second.0, 1, first.1).unwrap();
        assert_eq!(reader.row().unwrap(), Some(Row { table: 2, key: b"k", value: b"" }));
        assert_eq!(reader.row().unwrap(), None);
        assert_eq!(reader.trailer().unwrap(), Some(trailer()));
    }

    #[test]
    fn a_part_of_another_format_is_refused() {
        let [(first, _), _] = parts();
        let mut later = first.to_vec();
        later[4..8].copy_from_slice(&(AUTH_FORMAT + 1).to_le_bytes());
        let checksum = crc32c_append(0, &later[4..]);
        later[..4].copy_from_slice(&checksum.to_le_bytes());
        let refused = PartReader::open(&later, 0, 0).unwrap_err();
        assert!(matches!(refused, PartError::Format(_)), "{refused}");
    }

    #[test]
    fn damage_and_parts_out_of_order_are_noticed() {
        let [first, second] = parts();
        assert!(PartReader::open(&second.0, 0, 0).is_err(), "a part is missing");
        assert!(PartReader::open(&first.0, 1, first.1).is_err(), "a part comes twice");
        assert!(PartReader::open(&second.0, 1, first.1 ^ 1).is_err(), "a part of another state");
        for at in 0..second.0.len() {
            let mut bad = second.0.to_vec();
            bad[at] ^= 8;
            assert!(PartReader::open(&bad, 1, first.1).is_err(), "byte {at}");
            assert!(PartReader::open(&second.0[..at], 1, first.1).is_err(), "cut at {at}");
        }
    }

    /// The rows and the trailer of a part, as far as they can be decoded.
    fn read(content: &[u8]) -> (Vec<Row<'_>>, Option<Trailer>) {
        let mut reader = PartReader::open(content, 0, 0).unwrap();
        let mut rows = Vec::new();
        while let Ok(Some(row)) = reader.row() {
            rows.push(row);
        }
        (rows, reader.trailer().unwrap_or_default())
    }

    #[test]
    fn a_malformed_part_with_a_good_checksum_does_not_panic() {
        let sealed = |content: &[u8]| {
            let mut writer = PartWriter::new(AUTH_FORMAT, 0, 64);
            writer.out.extend_from_slice(content);
            writer.finish(0).0
        };
        let [_, (second, _)] = parts();
        let content = &second[HEADER_LEN..];
        let good = sealed(content);
        for at in 0..content.len() {
            assert_ne!(read(&sealed(&content[..at])), read(&good), "cut at {at}");
            let mut bad = content.to_vec();
            bad[at] ^= 0xff;
            assert_ne!(read(&sealed(&bad)), read(&good), "byte {at}");
        }
    }
}
