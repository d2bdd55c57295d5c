//! Rows in protobuf's form: a `RangeResponse` after the header of a gRPC message.

use bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use quorate_core::RecordRef;
use quorate_core::mvcc::range::RangeSummary;
use quorate_proto::etcdserverpb::ResponseHeader;
use tonic::Status;
use tonic::codec::EncodeBuf;

use super::Encode;
use crate::error::ApiError;
use crate::ops::rows::{Form, Rows};

/// Bytes of the header of a gRPC message: a flag, which is 0, and the length.
const PREFIX_LEN: usize = 5;

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

/// The form of a `RangeResponse`.
pub(crate) struct Protobuf;

/// An encoded `RangeResponse`.
pub(crate) type EncodedRange = Rows<Protobuf>;

impl Form for Protobuf {
    const PREFIX_BYTES: usize = PREFIX_LEN;

    fn put_prefix(prefix: &mut [u8], length: usize) -> Result<(), ApiError> {
        let length = u32::try_from(length).map_err(|_| ApiError::AnswerTooLarge)?;
        prefix[1..PREFIX_LEN].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn begin(header: Option<&ResponseHeader>, out: &mut Vec<u8>) {
        if let Some(header) = header {
            prost::encoding::message::encode(response::HEADER, header, out);
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

    fn framed_len(length: usize, _at: usize) -> usize {
        1 + encoded_len_varint(length as u64) + length
    }

    fn put_row(row: RecordRef<'_>, length: usize, _at: usize, out: &mut Vec<u8>) {
        encode_key(response::KVS, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        put_bytes(key_value::KEY, row.key, out);
        put_int64(key_value::CREATE_REVISION, row.create_revision, out);
        put_int64(key_value::MOD_REVISION, row.revision.main, out);
        put_int64(key_value::VERSION, row.version, out);
        put_bytes(key_value::VALUE, row.value, out);
        put_int64(key_value::LEASE, row.lease, out);
    }

    fn end(
        header: Option<&ResponseHeader>,
        summary: RangeSummary,
        _rows: usize,
        out: &mut Vec<u8>,
    ) {
        Self::begin(header, out);
        if summary.more {
            prost::encoding::bool::encode(response::MORE, &true, out);
        }
        if summary.count != 0 {
            prost::encoding::int64::encode(response::COUNT, &summary.count, out);
        }
    }
}

impl Encode for EncodedRange {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(self.message());
        Ok(())
    }
}

/// An encoded `RangeStreamResponse`.
pub(crate) struct EncodedChunk(pub(crate) EncodedRange);

impl Encode for EncodedChunk {
    fn encode_to(self, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let range = self.0.message();
        out.reserve(range.len() + 11);
        // `range_response` is field 1.
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(range.len() as u64, out);
        out.put_slice(range);
        Ok(())
    }
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
    use prost::Message as _;
    use quorate_core::Revision;
    use quorate_proto::etcdserverpb::RangeResponse;
    use quorate_proto::mvccpb::KeyValue;

    use super::*;

    #[test]
    fn rows_are_encoded_as_prost_encodes_the_message() {
        let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 3, raft_term: 4 };
        let mut bytes = Vec::new();
        Protobuf::begin(Some(&header), &mut bytes);
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
            let length = Protobuf::row_len(row);
            let before = bytes.len();
            Protobuf::put_row(row, length, kvs.len(), &mut bytes);
            assert_eq!(bytes.len() - before, Protobuf::framed_len(length, kvs.len()));
            kvs.push(KeyValue {
                key: "key".into(),
                create_revision: 7,
                mod_revision: 9,
                version: 2,
                value: value.to_owned().into(),
                lease,
            });
        }
        let summary = RangeSummary { more: true, count: 77 };
        Protobuf::end(None, summary, kvs.len(), &mut bytes);
        let expected = RangeResponse { header: Some(header), kvs, more: true, count: 77 };
        assert_eq!(bytes, expected.encode_to_vec());
        let mut prefix = [0; PREFIX_LEN];
        Protobuf::put_prefix(&mut prefix, 0x01_02_03).unwrap();
        assert_eq!(prefix, [0, 0, 1, 2, 3]);
        let too_long = Protobuf::put_prefix(&mut prefix, 1 << 32);
        assert_eq!(too_long, Err(ApiError::AnswerTooLarge));
    }
}
