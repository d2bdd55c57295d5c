//! Encodes range answers row by row while the store is read, so that no row is in memory twice.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use quorate_core::RecordRef;
use quorate_core::mvcc::range::{RangeSummary, RowSink};
use quorate_proto::etcdserverpb::ResponseHeader;
use quorate_raft::{Account, Permit};
use tonic::Status;
use tonic::codec::EncodeBuf;

use super::Encode;
use crate::transport::charge::{CALL_BYTES, REQUEST_BYTES, charged};

/// Bytes of the header of a gRPC message.
const PREFIX_LEN: usize = 5;
/// Bytes of an answer that need no permit, because the permit of the call includes them.
const FREE_BYTES: usize = CALL_BYTES - REQUEST_BYTES;

/// The field numbers of `RangeResponse`.
mod response {
    pub(super) const HEADER: u32 = 1;
    pub(super) const KVS: u32 = 2;
    pub(super) const MORE: u32 = 3;
    pub(super) const COUNT: u32 = 4;
}

/// The field numbers of `mvccpb.KeyValue`.
mod key_value {
    pub(super) const KEY: u32 = 1;
    pub(super) const CREATE_REVISION: u32 = 2;
    pub(super) const MOD_REVISION: u32 = 3;
    pub(super) const VERSION: u32 = 4;
    pub(super) const VALUE: u32 = 5;
    pub(super) const LEASE: u32 = 6;
}

/// What happens to rows for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// They are only measured, and read again when they are sent.
    Measure,
    /// The range ends before them.
    Stop,
}

/// A `RangeResponse`, encoded as far as there is room for it.
#[derive(Debug)]
pub(crate) struct EncodedRange {
    bytes: Vec<u8>,
    /// Bytes before the message: [`PREFIX_LEN`] or 0.
    prefix: usize,
    rows: usize,
    last_key: Vec<u8>,
    /// The permit for the bytes beyond [`FREE_BYTES`].
    permit: Permit,
    bytes_max: usize,
    full: Full,
    is_full: bool,
    /// Bytes for which the budget must have room before a first row can be kept.
    needs: usize,
    /// Bytes and number of the rows that were measured but not kept.
    measured: (usize, usize),
}

impl EncodedRange {
    fn new(account: &Account, bytes_max: usize, full: Full) -> Self {
        Self {
            bytes: Vec::new(),
            prefix: 0,
            rows: 0,
            last_key: Vec::new(),
            permit: account.nothing(),
            bytes_max,
            full,
            is_full: false,
            needs: 0,
            measured: (0, 0),
        }
    }

    /// An answer that begins with this header. It keeps at most `bytes_max` bytes and measures the
    /// rows beyond them.
    pub(crate) fn with_header(
        account: &Account,
        bytes_max: usize,
        header: &ResponseHeader,
    ) -> Self {
        let mut range = Self::new(account, bytes_max, Full::Measure);
        range.bytes.extend_from_slice(&[0; PREFIX_LEN]);
        range.prefix = PREFIX_LEN;
        range.put_header(header);
        range
    }

    /// A part of an answer. It keeps as many rows as fit into `bytes_max`, and at least one row if
    /// the budget has room for it. `room` is the permit that it begins with.
    pub(crate) fn part(room: Permit, bytes_max: usize) -> Self {
        let part = Self::new(room.account(), bytes_max, Full::Stop);
        Self { permit: room, ..part }
    }

    /// Bytes for which the budget must have room before a first row can be kept; 0 if a row was
    /// kept.
    pub(crate) fn needs(&self) -> usize {
        self.needs
    }

    /// An empty answer, as a placeholder for an answer that bypasses the codec.
    pub(crate) fn nothing(&self) -> Self {
        Self::part(self.permit.account().nothing(), 0)
    }

    /// Adds the header. In a `RangeStream`, it comes after the rows.
    pub(crate) fn put_header(&mut self, header: &ResponseHeader) {
        prost::encoding::message::encode(response::HEADER, header, &mut self.bytes);
    }

    /// Adds the summary, after all rows.
    pub(crate) fn finish(&mut self, summary: RangeSummary) {
        put_summary(summary, &mut self.bytes);
    }

    /// Number of kept rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The key of the last kept row; empty without rows.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Bytes of the message that are kept.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.prefix
    }

    /// Whether a row found no room.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Bytes and number of the rows that were measured but not kept.
    pub(crate) fn measured(&self) -> (usize, usize) {
        self.measured
    }

    /// The kept bytes as data for the connection. `following` is the number of bytes of the message
    /// that the caller sends after them; 0 if this is the whole message. The data are charged to
    /// the budget until the connection has written them.
    ///
    /// # Errors
    /// The message is larger than 4 GiB.
    pub(crate) fn into_data(mut self, following: usize) -> Result<Bytes, Status> {
        if self.prefix > 0 {
            let length = u32::try_from(self.len() + following).map_err(|_| {
                Status::resource_exhausted("etcdserver: an answer above 4 GiB; set a limit")
            })?;
            self.bytes[1..PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
        }
        Ok(charged(self.bytes.into(), self.permit))
    }

    /// Makes room for `more` bytes; returns false if there is none.
    fn make_room(&mut self, more: usize) -> bool {
        let is_first = self.full == Full::Stop && self.rows == 0;
        let needed = self.bytes.len() + more;
        if needed > self.bytes_max && !is_first {
            return false;
        }
        let old = self.bytes.capacity();
        if needed <= old {
            return true;
        }
        let new = needed.max((2 * old).min(self.bytes_max));
        let grown = new.saturating_sub(FREE_BYTES + self.permit.bytes());
        if grown > 0 && !self.permit.try_grow(grown) {
            self.needs = if is_first { needed } else { 0 };
            return false;
        }
        self.bytes.reserve_exact(new - self.bytes.len());
        true
    }
}

/// Appends the fields that follow the rows of an answer.
pub(crate) fn put_summary(summary: RangeSummary, out: &mut Vec<u8>) {
    if summary.more {
        prost::encoding::bool::encode(response::MORE, &true, out);
    }
    if summary.count != 0 {
        prost::encoding::int64::encode(response::COUNT, &summary.count, out);
    }
}

impl RowSink for EncodedRange {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        let length = row_len(row);
        let whole = 1 + encoded_len_varint(length as u64) + length;
        if self.is_full || !self.make_room(whole) {
            self.is_full = true;
            if self.full == Full::Stop {
                return ControlFlow::Break(());
            }
            self.measured = (self.measured.0 + whole, self.measured.1 + 1);
            return ControlFlow::Continue(());
        }
        encode_key(response::KVS, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(length as u64, &mut self.bytes);
        put_bytes(key_value::KEY, row.key, &mut self.bytes);
        put_int64(key_value::CREATE_REVISION, row.create_revision, &mut self.bytes);
        put_int64(key_value::MOD_REVISION, row.revision.main, &mut self.bytes);
        put_int64(key_value::VERSION, row.version, &mut self.bytes);
        put_bytes(key_value::VALUE, row.value, &mut self.bytes);
        put_int64(key_value::LEASE, row.lease, &mut self.bytes);
        self.rows += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(row.key);
        ControlFlow::Continue(())
    }
}

impl Encode for EncodedRange {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&self.bytes[self.prefix..]);
        Ok(())
    }
}

/// An encoded `RangeStreamResponse`.
#[derive(Debug)]
pub(crate) struct EncodedChunk(pub(crate) EncodedRange);

impl Encode for EncodedChunk {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let range = &self.0.bytes[self.0.prefix..];
        out.reserve(range.len() + 11);
        // `range_response` is field 1.
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(range.len() as u64, out);
        out.put_slice(range);
        Ok(())
    }
}

fn row_len(row: RecordRef<'_>) -> usize {
    let bytes = |field: &[u8]| match field.len() {
        0 => 0,
        length => 1 + encoded_len_varint(length as u64) + length,
    };
    let int64 = |field: i64| match field {
        0 => 0,
        number => 1 + encoded_len_varint(number.cast_unsigned()),
    };
    bytes(row.key)
        + int64(row.create_revision)
        + int64(row.revision.main)
        + int64(row.version)
        + bytes(row.value)
        + int64(row.lease)
}

fn put_bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.put_slice(value);
    }
}

fn put_int64(field: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(field, WireType::Varint, out);
        encode_varint(value.cast_unsigned(), out);
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::Revision;
    use quorate_proto::etcdserverpb::RangeResponse;
    use quorate_proto::mvccpb::KeyValue;
    use quorate_raft::Budget;

    use prost::Message;

    use super::*;

    #[test]
    fn rows_are_encoded_as_prost_encodes_the_message() {
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
        let budget = Budget::new(1 << 20);
        let mut range = EncodedRange::with_header(&budget.account(), 1 << 20, &header);
        let mut kvs = Vec::new();
        for (value, lease) in [("", 0), ("v", -5), (&"x".repeat(500), i64::MAX)] {
            let row = RecordRef {
                key: b"key",
                value: value.as_bytes(),
                revision: Revision::new(9, 3),
                create_revision: 7,
                version: 2,
                lease,
                previous: Revision::NONE,
            };
            assert!(range.row(row).is_continue());
            kvs.push(KeyValue {
                key: "key".into(),
                create_revision: 7,
                mod_revision: 9,
                version: 2,
                value: value.to_owned().into(),
                lease,
            });
        }
        range.finish(RangeSummary { more: true, count: 77 });
        let expected = RangeResponse { header: Some(header), kvs, more: true, count: 77 };
        assert_eq!(range.bytes[PREFIX_LEN..], expected.encode_to_vec());
        assert_eq!((range.rows(), range.last_key()), (3, &b"key"[..]));
    }

    fn row(value: &[u8]) -> RecordRef<'_> {
        RecordRef {
            key: b"key",
            value,
            revision: Revision::new(9, 3),
            create_revision: 7,
            version: 2,
            lease: 0,
            previous: Revision::NONE,
        }
    }

    #[test]
    fn rows_without_room_are_measured_or_left_out() {
        let header = ResponseHeader::default();
        let value = vec![b'v'; 10_000];
        let budget = Budget::new(45_000);
        let account = budget.account();
        let mut whole = EncodedRange::with_header(&account, 1 << 20, &header);
        (0..6).for_each(|_| assert!(whole.row(row(&value)).is_continue()));
        let (bytes, rows) = whole.measured();
        assert!(whole.is_full() && rows > 0 && whole.rows() + rows == 6);
        assert_eq!(bytes / rows, row_len(row(&value)) + 3);
        assert!(budget.used() >= whole.len() - FREE_BYTES);
        let kept = whole.len();
        let data = whole.into_data(bytes).unwrap();
        assert_eq!(data[1..PREFIX_LEN], u32::try_from(kept + bytes).unwrap().to_be_bytes());
        // A part without room for one row asks for it; with the room, it keeps the row.
        let other = account.charge(45_000);
        let mut part = EncodedRange::part(account.nothing(), 100);
        assert!(part.row(row(&value)).is_break() && part.rows() == 0);
        let room = account.charge(part.needs());
        let mut part = EncodedRange::part(room, 100);
        assert!(part.row(row(&value)).is_continue() && part.row(row(b"")).is_break());
        assert_eq!((part.rows(), part.is_full(), part.needs()), (1, true, 0));
        drop((data, part, other));
        assert_eq!(budget.used(), 0);
    }
}
