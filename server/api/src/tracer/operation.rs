//! The spans of operations: etcd's names and attributes.

use opentelemetry::KeyValue;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request;

/// Maximum bytes of a key in a span, because spans that wait are not charged to the memory budget.
const KEY_BYTES_MAX: usize = 1 << 10;

/// The name of an operation's span, and its attributes, which describe the request.
pub(crate) struct Operation {
    pub(super) name: &'static str,
    pub(super) attributes: Vec<KeyValue>,
}

impl Operation {
    pub(crate) fn range(request: &pb::RangeRequest) -> Self {
        let mut attributes = range_attributes(request);
        attributes.push(KeyValue::new("keys_only", request.keys_only));
        Self { name: "range", attributes }
    }

    pub(crate) fn range_stream(request: &pb::RangeRequest) -> Self {
        Self { name: "range_streaming", attributes: range_attributes(request) }
    }

    pub(crate) fn put(request: &pb::PutRequest) -> Self {
        Self { name: "put", attributes: vec![key("key", &request.key)] }
    }

    pub(crate) fn delete_range(request: &pb::DeleteRangeRequest) -> Self {
        let attributes =
            vec![key("range_begin", &request.key), key("range_end", &request.range_end)];
        Self { name: "delete_range", attributes }
    }

    pub(crate) fn txn(request: &pb::TxnRequest, is_read_only: bool) -> Self {
        let compares = request.compare.iter().map(|compare| &compare.key[..]);
        let keys = request.success.iter().filter_map(key_of);
        let attributes = vec![
            key("compare_first_key", first_of(compares)),
            key("success_first_key", first_of(keys)),
            KeyValue::new("success_first_type", first_type(&request.success)),
            KeyValue::new("success_first_lease", first_lease(&request.success)),
            count("compare_len", request.compare.len()),
            count("success_len", request.success.len()),
            count("failure_len", request.failure.len()),
            KeyValue::new("read_only", is_read_only),
        ];
        Self { name: "txn", attributes }
    }

    pub(crate) fn compact(request: &pb::CompactionRequest) -> Self {
        let attributes = vec![
            KeyValue::new("is_physical", request.physical),
            KeyValue::new("rev", request.revision),
        ];
        Self { name: "compact", attributes }
    }

    pub(crate) fn lease_grant(request: &pb::LeaseGrantRequest) -> Self {
        let attributes = vec![KeyValue::new("id", request.id), KeyValue::new("ttl", request.ttl)];
        Self { name: "lease_grant", attributes }
    }

    pub(crate) fn lease_revoke(id: i64) -> Self {
        Self { name: "lease_revoke", attributes: vec![KeyValue::new("id", id)] }
    }

    pub(crate) fn lease_renew(id: i64) -> Self {
        Self { name: "lease_renew", attributes: vec![KeyValue::new("id", id)] }
    }

    /// The span of a watcher. As in etcd, `range_end` is empty there if the watched range has no
    /// upper bound.
    pub(crate) fn watch(request: &pb::WatchCreateRequest) -> Self {
        let range_end = if request.range_end[..] == [0] { &[][..] } else { &request.range_end };
        let first = if request.key.is_empty() { &[0][..] } else { &request.key };
        let attributes = vec![
            key("key", first),
            key("range_end", range_end),
            KeyValue::new("start_rev", request.start_revision),
            KeyValue::new("progress_notify", request.progress_notify),
            KeyValue::new("prev_kv", request.prev_kv),
            KeyValue::new("fragment", request.fragment),
        ];
        Self { name: "watch", attributes }
    }
}

fn range_attributes(request: &pb::RangeRequest) -> Vec<KeyValue> {
    vec![
        key("range_begin", &request.key),
        key("range_end", &request.range_end),
        KeyValue::new("rev", request.revision),
        KeyValue::new("limit", request.limit),
        KeyValue::new("count_only", request.count_only),
    ]
}

/// The beginning of a key as text. Bytes that are not UTF-8 are replaced.
fn key(name: &'static str, key: &[u8]) -> KeyValue {
    let key = &key[..key.len().min(KEY_BYTES_MAX)];
    KeyValue::new(name, String::from_utf8_lossy(key).into_owned())
}

fn count(name: &'static str, count: usize) -> KeyValue {
    KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))
}

/// The first key that is not empty, or an empty one.
fn first_of<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> &'a [u8] {
    keys.find(|key| !key.is_empty()).unwrap_or_default()
}

fn key_of(operation: &pb::RequestOp) -> Option<&[u8]> {
    match operation.request.as_ref()? {
        Request::RequestPut(put) => Some(&put.key),
        Request::RequestRange(range) => Some(&range.key),
        Request::RequestDeleteRange(deletion) => Some(&deletion.key),
        Request::RequestTxn(_) => None,
    }
}

fn first_type(operations: &[pb::RequestOp]) -> &'static str {
    let types = operations.iter().filter_map(|operation| {
        Some(match operation.request.as_ref()? {
            Request::RequestPut(_) => "put",
            Request::RequestRange(_) => "range",
            Request::RequestDeleteRange(_) => "delete_range",
            Request::RequestTxn(_) => "txn",
        })
    });
    types.into_iter().next().unwrap_or_default()
}

/// The lease of the first put, or -1 without one.
fn first_lease(operations: &[pb::RequestOp]) -> i64 {
    let leases = operations.iter().filter_map(|operation| match operation.request.as_ref()? {
        Request::RequestPut(put) => Some(put.lease),
        _ => None,
    });
    leases.into_iter().next().unwrap_or(-1)
}
