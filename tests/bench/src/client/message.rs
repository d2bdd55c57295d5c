//! Requests, framed for gRPC.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{
    PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest, request_op,
};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

/// The measured methods, and those that the cases need besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rpc {
    Put,
    Range,
    Txn,
    Compact,
    Defragment,
    Status,
    Watch,
    AuthDisable,
    AuthEnable,
    Authenticate,
    UserAdd,
    UserGrantRole,
    RoleAdd,
    RoleGrantPermission,
}

impl Rpc {
    /// The HTTP/2 path of the method.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range => "/etcdserverpb.KV/Range",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::Compact => "/etcdserverpb.KV/Compact",
            Self::Defragment => "/etcdserverpb.Maintenance/Defragment",
            Self::Status => "/etcdserverpb.Maintenance/Status",
            Self::Watch => "/etcdserverpb.Watch/Watch",
            Self::AuthDisable => "/etcdserverpb.Auth/AuthDisable",
            Self::AuthEnable => "/etcdserverpb.Auth/AuthEnable",
            Self::Authenticate => "/etcdserverpb.Auth/Authenticate",
            Self::UserAdd => "/etcdserverpb.Auth/UserAdd",
            Self::UserGrantRole => "/etcdserverpb.Auth/UserGrantRole",
            Self::RoleAdd => "/etcdserverpb.Auth/RoleAdd",
            Self::RoleGrantPermission => "/etcdserverpb.Auth/RoleGrantPermission",
        }
    }
}

/// The lowest key. As the end of a range: all keys from its start.
const LOWEST: &[u8] = b"\0";
/// etcd's default limit of operations in a transaction.
const TXN_PUTS_MAX: u64 = 128;

/// A message with its gRPC prefix.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("requests are small"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// Incompressible bytes, always the same for the same length.
pub(crate) fn value(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(length as u64).fill_bytes(&mut bytes);
    bytes.into()
}

/// The key for a number: 8 bytes that sort like the numbers.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// The `n`th of a fixed pseudorandom sequence of numbers below `bound`.
pub(crate) fn scattered(n: u64, bound: u64) -> u64 {
    SmallRng::seed_from_u64(n).next_u64() % bound
}

/// Puts one key.
pub(crate) fn put(number: u64, value: &Bytes) -> PutRequest {
    PutRequest { key: key(number), value: value.clone(), ..PutRequest::default() }
}

/// Transaction `n` of those that together put each key below `keys` once.
pub(crate) fn puts(n: u64, keys: u64, value: &Bytes) -> TxnRequest {
    let first = n * TXN_PUTS_MAX;
    let last = keys.min(first + TXN_PUTS_MAX);
    let operation = |number| request_op::Request::RequestPut(put(number, value));
    let success = (first..last).map(|n| RequestOp { request: Some(operation(n)) }).collect();
    TxnRequest { success, ..TxnRequest::default() }
}

/// How many transactions it takes to put `keys` keys.
pub(crate) fn txns(keys: u64) -> u64 {
    keys.div_ceil(TXN_PUTS_MAX)
}

/// Reads one key, linearizably.
pub(crate) fn get(number: u64) -> RangeRequest {
    RangeRequest { key: key(number), ..RangeRequest::default() }
}

/// Reads all keys, linearizably.
pub(crate) fn list() -> RangeRequest {
    from(Bytes::from_static(LOWEST), 0)
}

/// Reads a page that starts at a key, linearizably.
pub(crate) fn page(number: u64, limit: i64) -> RangeRequest {
    from(key(number), limit)
}

/// Counts all keys, linearizably.
pub(crate) fn count() -> RangeRequest {
    RangeRequest { count_only: true, ..list() }
}

/// Reads the keys below `keys` in descending order of their last change.
pub(crate) fn newest_first(keys: u64) -> RangeRequest {
    RangeRequest {
        key: key(0),
        range_end: key(keys),
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Mod.into(),
        ..RangeRequest::default()
    }
}

/// Watches the keys below `keys` from the first revision on.
pub(crate) fn watch(keys: u64) -> WatchRequest {
    let create = WatchCreateRequest {
        key: key(0),
        range_end: key(keys),
        start_revision: 2,
        ..WatchCreateRequest::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn from(key: Bytes, limit: i64) -> RangeRequest {
    let range_end = Bytes::from_static(LOWEST);
    RangeRequest { key, range_end, limit, ..RangeRequest::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_put_every_key_once() {
        for keys in [1, 128, 129, 1000] {
            let value = value(1);
            let mut numbers = Vec::new();
            for n in 0..txns(keys) {
                for operation in puts(n, keys, &value).success {
                    let Some(request_op::Request::RequestPut(put)) = operation.request else {
                        panic!("not a put");
                    };
                    numbers.push(put.key);
                }
            }
            let expected: Vec<Bytes> = (0..keys).map(key).collect();
            assert_eq!(numbers, expected);
        }
    }

    #[test]
    fn a_frame_begins_with_its_length() {
        let message = put(7, &value(256));
        let frame = framed(&message);
        assert_eq!(frame[0], 0);
        let length = u32::from_be_bytes(frame[1..5].try_into().unwrap());
        assert_eq!(length as usize, frame.len() - 5);
        assert_eq!(PutRequest::decode(frame.slice(5..)).unwrap(), message);
    }
}
