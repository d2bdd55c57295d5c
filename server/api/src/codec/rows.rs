//! Range answers, written row by row as the store is read: no row is held twice.

use std::ops::ControlFlow;

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use quorate_core::RecordRef;
use quorate_core::mvcc::range::{RangeSummary, RowSink};
use quorate_proto::etcdserverpb::ResponseHeader;
use tonic::Status;
use tonic::codec::EncodeBuf;

use super::Encode;

/// Answers that are at least so long are copied where they hold up nobody.
const LARGE_BYTES: usize = 1 << 20;

/// Numbers of the fields of `RangeResponse`.
mod response {
    pub(super) const HEADER: u32 = 1;
    pub(super) const KVS: u32 = 2;
    pub(super) const MORE: u32 = 3;
    pub(super) const COUNT: u32 = 4;
}

/// Numbers of the fields of `mvccpb.KeyValue`.
mod key_value {
    pub(super) const KEY: u32 = 1;
    pub(super) const CREATE_REVISION: u32 = 2;
    pub(super) const MOD_REVISION: u32 = 3;
    pub(super) const VERSION: u32 = 4;
    pub(super) const VALUE: u32 = 5;
    pub(super) const LEASE: u32 = 6;
}

/// A `RangeResponse`, encoded.
#[derive(Debug, Default)]
pub(crate) struct EncodedRange {
    bytes: Vec<u8>,
    rows: usize,
    last_key: Vec<u8>,
}

impl EncodedRange {
    /// An answer that begins with this header.
    pub(crate) fn with_header(header: &ResponseHeader) -> Self {
        let mut range = Self::default();
        range.put_header(header);
        range
    }

    /// Adds the header; in a stream it stands behind the rows.
    pub(crate) fn put_header(&mut self, header: &ResponseHeader) {
        prost::encoding::message::encode(response::HEADER, header, &mut self.bytes);
    }

    /// Adds what is known when all rows were added.
    pub(crate) fn finish(&mut self, summary: RangeSummary) {
        if summary.more {
            prost::encoding::bool::encode(response::MORE, &true, &mut self.bytes);
        }
        if summary.count != 0 {
            prost::encoding::int64::encode(response::COUNT, &summary.count, &mut self.bytes);
        }
    }

    /// How many rows were added.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The key of the last row; empty before the first.
    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl RowSink for EncodedRange {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        let length = row_len(row);
        self.bytes.reserve(length + 11);
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
        let bytes = self.bytes;
        let is_large = bytes.len() >= LARGE_BYTES;
        let copy = move || {
            out.reserve(bytes.len());
            out.put_slice(&bytes);
            drop(bytes);
        };
        // A copy of a large answer takes long enough for others to be served meanwhile.
        if is_large {
            tokio::task::block_in_place(copy)
        } else {
            copy()
        }
        Ok(())
    }
}

/// A `RangeStreamResponse`, encoded.
#[derive(Debug)]
pub(crate) struct EncodedChunk(pub(crate) EncodedRange);

impl Encode for EncodedChunk {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let range = self.0.bytes;
        out.reserve(range.len() + 11);
        // `range_response` is field 1.
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(range.len() as u64, out);
        out.put_slice(&range);
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

    use prost::Message;

    use super::*;

    #[test]
    fn rows_are_what_the_message_would_be() {
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
        let mut range = EncodedRange::with_header(&header);
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
        assert_eq!(range.bytes, expected.encode_to_vec());
        assert_eq!((range.rows(), range.last_key()), (3, &b"key"[..]));
    }
}
