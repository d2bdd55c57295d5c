//! The response and the changes of an operation on the model.
//!
//! Covers only the requests of the workload: ranges are in key order and have no filters by
//! revision, and transactions are not nested.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_proto::etcdserverpb::response_op::Response as OpResponse;
use quorate_proto::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseRevokeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseOp, TxnRequest, TxnResponse,
};
use quorate_proto::mvccpb::KeyValue;

use super::model::{Change, Keys, Model, Version};
use crate::history::{Request, Response};

/// A response without headers, and the changes in their order.
#[derive(Clone, Debug)]
pub(super) struct Evaluated {
    /// The response.
    pub(super) response: Response,
    /// The changes.
    pub(super) changes: Vec<Change>,
}

/// Evaluates a request on the model at revision `base`, without changing the model. The writes of
/// the request are at `base + 1`. Returns `None` for requests other than ranges, puts, deletions,
/// transactions and revocations of leases.
pub(super) fn evaluate(model: &Model, request: &Request, base: i64) -> Option<Evaluated> {
    let mut run = Run { model, base, overlay: BTreeMap::new(), changes: Vec::new() };
    let response = match request {
        Request::Range(range) => Response::Range(run.range(range)),
        Request::Put(put) => Response::Put(run.put(put)),
        Request::DeleteRange(delete) => Response::DeleteRange(run.delete_range(delete)),
        Request::Txn(txn) => Response::Txn(run.txn(txn)),
        Request::LeaseRevoke(revoke) => {
            for key in model.attached(revoke.id, base) {
                run.write(key, None);
            }
            Response::LeaseRevoke(LeaseRevokeResponse::default())
        }
        _ => return None,
    };
    Some(Evaluated { response, changes: run.changes })
}

/// The response without its headers. Other modules check the headers.
pub(super) fn without_headers(response: &Response) -> Response {
    let mut response = response.clone();
    match &mut response {
        Response::Range(r) => r.header = None,
        Response::Put(r) => r.header = None,
        Response::DeleteRange(r) => r.header = None,
        Response::LeaseRevoke(r) => r.header = None,
        Response::Txn(txn) => {
            txn.header = None;
            for op in &mut txn.responses {
                match &mut op.response {
                    Some(OpResponse::ResponseRange(r)) => r.header = None,
                    Some(OpResponse::ResponsePut(r)) => r.header = None,
                    Some(OpResponse::ResponseDeleteRange(r)) => r.header = None,
                    Some(OpResponse::ResponseTxn(_)) | None => {}
                }
            }
        }
        _ => {}
    }
    response
}

struct Run<'a> {
    model: &'a Model,
    base: i64,
    /// The writes of this request so far.
    overlay: BTreeMap<Bytes, Version>,
    changes: Vec<Change>,
}

impl Run<'_> {
    fn get(&self, key: &Bytes) -> Option<Version> {
        let written = self.overlay.get(key);
        let found = written.or_else(|| self.model.get(key, self.base));
        found.filter(|version| !version.is_tombstone()).cloned()
    }

    fn rows(&self, keys: Keys<'_>) -> Vec<KeyValue> {
        let base = self.model.range(keys, self.base);
        let mut rows: BTreeMap<&Bytes, &Version> = base.collect();
        rows.extend(self.overlay.iter().filter(|(key, _)| keys.contains(key)));
        let alive = rows.into_iter().filter(|(_, version)| !version.is_tombstone());
        alive.map(|(key, version)| version.key_value(key)).collect()
    }

    fn range(&self, range: &RangeRequest) -> RangeResponse {
        let keys = Keys::new(&range.key, &range.range_end);
        let mut kvs = match range.revision {
            ..=0 => self.rows(keys),
            past => self.model.range(keys, past).map(|(key, v)| v.key_value(key)).collect(),
        };
        let count = i64::try_from(kvs.len()).expect("fewer keys than i64::MAX");
        let mut more = false;
        if range.count_only {
            kvs.clear();
        } else if range.limit > 0 && count > range.limit {
            kvs.truncate(usize::try_from(range.limit).expect("it is below the count"));
            more = true;
        }
        // etcd answers from its key index, which has no leases.
        if range.keys_only {
            for kv in &mut kvs {
                (kv.value, kv.lease) = (Bytes::new(), 0);
            }
        }
        RangeResponse { header: None, kvs, more, count }
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let before = self.get(&put.key).filter(|_| put.prev_kv);
        self.write(put.key.clone(), Some((put.value.clone(), put.lease)));
        PutResponse { header: None, prev_kv: before.map(|before| before.key_value(&put.key)) }
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let rows = self.rows(Keys::new(&delete.key, &delete.range_end));
        for row in &rows {
            self.write(row.key.clone(), None);
        }
        let deleted = i64::try_from(rows.len()).expect("fewer keys than i64::MAX");
        let prev_kvs = if delete.prev_kv { rows } else { Vec::new() };
        DeleteRangeResponse { header: None, deleted, prev_kvs }
    }

    fn txn(&mut self, txn: &TxnRequest) -> TxnResponse {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            let response = match &op.request {
                Some(Op::RequestRange(r)) => OpResponse::ResponseRange(self.range(r)),
                Some(Op::RequestPut(r)) => OpResponse::ResponsePut(self.put(r)),
                Some(Op::RequestDeleteRange(r)) => {
                    OpResponse::ResponseDeleteRange(self.delete_range(r))
                }
                Some(Op::RequestTxn(_)) | None => unreachable!("the workload nests nothing"),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        TxnResponse { header: None, succeeded, responses }
    }

    /// Evaluates a comparison of a single key by a number.
    fn holds(&self, compare: &Compare) -> bool {
        let found = self.get(&compare.key).unwrap_or_default();
        let actual = match compare.target() {
            CompareTarget::Version => found.version,
            CompareTarget::Create => found.create_revision,
            CompareTarget::Mod => found.revision,
            CompareTarget::Lease => found.lease,
            CompareTarget::Value => unreachable!("the workload compares numbers"),
        };
        let given = match compare.target_union {
            Some(
                TargetUnion::Version(n)
                | TargetUnion::CreateRevision(n)
                | TargetUnion::ModRevision(n)
                | TargetUnion::Lease(n),
            ) => n,
            _ => 0,
        };
        match compare.result() {
            CompareResult::Equal => actual == given,
            CompareResult::NotEqual => actual != given,
            CompareResult::Greater => actual > given,
            CompareResult::Less => actual < given,
        }
    }

    fn write(&mut self, key: Bytes, put: Option<(Bytes, i64)>) {
        let before = self.get(&key);
        let revision = self.base + 1;
        let after = match put {
            Some((value, lease)) => Version::put(before.as_ref(), revision, value, lease),
            None => Version::tombstone(revision),
        };
        self.overlay.insert(key.clone(), after.clone());
        self.changes.push(Change { key, before, after });
    }
}
