//! Executing the chosen branches of a transaction.

use std::ops::ControlFlow;

use bytes::Bytes;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::response_op::Response;
use quorate_proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use quorate_proto::mvccpb::KeyValue;

use super::decide;
use crate::mvcc::range::RowSink;
use crate::mvcc::{OptionalContext, View};
use crate::store::{Changes, Store};
use crate::{Error, Fault, KeyRange, RecordRef, Refusal, Tally};

/// A header with only the revision. The API fills in the other fields before it answers a client.
pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..Default::default() })
}

/// Collects rows in memory until the whole transaction is answered.
struct ChargedRows<'a> {
    view: &'a View,
    rows: Vec<KeyValue>,
}

impl RowSink for ChargedRows<'_> {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        // Twice the bytes: while the answer is encoded, memory holds the rows and the encoding.
        self.view.keep(size_of::<KeyValue>() + 2 * (row.key.len() + row.value.len()));
        self.rows.row(row)
    }
}

/// Executes a range inside a transaction.
fn range(view: &View, request: &RangeRequest) -> Result<RangeResponse, Error> {
    let mut charged = ChargedRows { view, rows: Vec::new() };
    let summary = view.range(request, true, &mut charged)?;
    Ok(RangeResponse {
        header: header(view.revision),
        kvs: charged.rows,
        more: summary.more,
        count: summary.count,
    })
}

impl View {
    /// Answers a transaction that has only ranges, and counts its reads in `tally`.
    ///
    /// # Errors
    /// A range reads a compacted or future revision, or the database cannot be read.
    pub fn read_txn(&self, request: &TxnRequest, tally: &mut Tally) -> Result<TxnResponse, Error> {
        let response = self.decide_and_read(request, tally);
        tally.end_step();
        response
    }

    fn decide_and_read(
        &self,
        request: &TxnRequest,
        tally: &mut Tally,
    ) -> Result<TxnResponse, Error> {
        let succeeded = decide(self, request, tally)?[0];
        let ops = if succeeded { &request.success } else { &request.failure };
        let ranges = ops.iter().filter_map(|op| match &op.request {
            Some(Request::RequestRange(range)) => Some(range),
            _ => None,
        });
        for range in ranges.clone() {
            self.check_revision(range.revision)?;
        }
        let mut responses = Vec::with_capacity(ops.len());
        for request in ranges {
            tally.range();
            let response = Response::ResponseRange(range(self, request)?);
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: header(self.revision), succeeded, responses })
    }
}

impl Store {
    /// Decides and executes a transaction. A refused transaction writes nothing.
    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Error> {
        let mut changes = self.begin();
        let view = self.view(changes);
        let path = decide(&view, request, &mut self.tally)?;
        self.check_branches(&view, request, &mut path.iter().copied())?;
        self.tally.end_step();
        let mut path = path.into_iter();
        let mut response = self.execute(&mut changes, request, &mut path)?;
        self.commit(changes);
        response.header = header(self.revision);
        Ok(response)
    }

    /// Checks every operation of the chosen branches against the state before the first write.
    fn check_branches(
        &mut self,
        view: &View,
        request: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<(), Error> {
        for op in chosen(request, path).1 {
            match &op.request {
                Some(Request::RequestRange(range)) => view.check_revision(range.revision)?,
                Some(Request::RequestPut(put)) => {
                    self.check_lease(put)?;
                    if needs_previous(put) {
                        self.tally.range();
                    }
                    Self::check_key(view, put)?;
                }
                Some(Request::RequestTxn(nested)) => self.check_branches(view, nested, path)?,
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }

    fn execute(
        &mut self,
        changes: &mut Changes,
        request: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<TxnResponse, Error> {
        let (succeeded, ops) = chosen(request, path);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            let response = match &op.request {
                Some(Request::RequestRange(request)) => {
                    self.tally.range();
                    Response::ResponseRange(range(&self.view(*changes), request)?)
                }
                Some(Request::RequestPut(put)) => Response::ResponsePut(self.put(changes, put)?),
                Some(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete_range(changes, delete)?)
                }
                Some(Request::RequestTxn(nested)) => {
                    Response::ResponseTxn(self.execute(changes, nested, path)?)
                }
                None => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded, responses })
    }

    /// Refuses a put with a lease that does not exist.
    pub(crate) fn check_lease(&self, put: &PutRequest) -> Result<(), Refusal> {
        let exists = |lease| self.shared().tables(|tables| tables.leases.contains_key(lease));
        if put.lease == 0 || exists(&put.lease) { Ok(()) } else { Err(Refusal::LeaseNotFound) }
    }

    /// Refuses a put with `ignore_value` or `ignore_lease` if its key does not exist.
    pub(crate) fn check_key(view: &View, put: &PutRequest) -> Result<(), Error> {
        let needs_key = put.ignore_value || put.ignore_lease;
        if needs_key && view.get(&put.key, view.revision)?.is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        Ok(())
    }

    /// Executes a put that passed [`Store::check_lease`] and [`Store::check_key`].
    pub(crate) fn put(
        &mut self,
        changes: &mut Changes,
        put: &PutRequest,
    ) -> Result<PutResponse, Error> {
        let mut previous = None;
        if needs_previous(put) {
            self.tally.range();
            let view = self.view(*changes);
            previous = view.get(&put.key, view.revision)?;
        }
        // `previous` is `None` if the same transaction has deleted the key. The put then has no
        // value or lease to keep.
        let kept = previous.as_ref();
        let value = if put.ignore_value {
            kept.map(|record| record.value.clone()).unwrap_or_default()
        } else {
            put.value.clone()
        };
        let lease =
            if put.ignore_lease { kept.map_or(0, |record| record.lease) } else { put.lease };
        self.tally.put(&put.key, &value);
        self.write_put(changes, put.key.clone(), value, lease)?;
        let prev_kv = previous.filter(|_| put.prev_kv).map(|record| record.to_key_value());
        Ok(PutResponse { header: header(changes.main), prev_kv })
    }

    /// Executes a deletion.
    pub(crate) fn delete_range(
        &mut self,
        changes: &mut Changes,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        let view = self.view(*changes);
        if request.prev_kv {
            self.tally.range();
        }
        self.tally.delete();
        // The scan gives the newest version of each key. A second look-up would be slow, and all
        // other writes wait while a command deletes, for instance, a million keys.
        let mut doomed = Vec::new();
        let mut prev_kvs = Vec::new();
        view.walk(&range, view.revision, request.prev_kv, &mut |row| {
            if request.prev_kv {
                prev_kvs.push(row.to_owned().to_key_value());
            }
            // Copy the key: a slice would keep the whole log entry that wrote it in memory.
            doomed.push((Bytes::copy_from_slice(row.key), row.revision));
            ControlFlow::Continue(())
        })?;
        let deleted = i64::try_from(doomed.len()).expect("fewer keys than i64::MAX");
        for (key, revision) in doomed {
            self.write_delete(changes, key, revision);
        }
        let revision = if changes.count > 0 { changes.main } else { self.revision };
        Ok(DeleteRangeResponse { header: header(revision), deleted, prev_kvs })
    }

    /// Deletes the keys attached to a lease, in one revision.
    pub(crate) fn delete_leased(&mut self, changes: &mut Changes, lease: i64) -> Result<(), Fault> {
        for (key, revision) in self.stack().leased(lease, i64::MAX, &OptionalContext::default())? {
            self.tally.delete();
            self.write_delete(changes, key, revision);
        }
        Ok(())
    }
}

/// Whether a put needs the previous version of its key.
fn needs_previous(put: &PutRequest) -> bool {
    put.prev_kv || put.ignore_value || put.ignore_lease
}

/// Takes the next decision from `path` and returns it with the operations of the chosen branch.
pub(super) fn chosen<'a>(
    request: &'a TxnRequest,
    path: &mut impl Iterator<Item = bool>,
) -> (bool, &'a [RequestOp]) {
    let succeeded = path.next().expect("one answer for every transaction on the path");
    (succeeded, if succeeded { &request.success } else { &request.failure })
}
