//! Measures the answer to a write before it is proposed. The API reserves memory for the answer
//! first, because an applied write can no longer be refused.

use std::ops::ControlFlow;

use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{PutRequest, RequestOp, ResponseOp, TxnRequest};
use quorate_proto::mvccpb::KeyValue;

use super::decide;
use super::execute::chosen;
use crate::command::Command;
use crate::mvcc::View;
use crate::mvcc::range::RowSink;
use crate::{Error, KeyRange, RecordRef, Tally};

/// Memory of the answer to an operation without its rows: decoded, and encoded with a revision.
const OPERATION_BYTES: usize = size_of::<ResponseOp>() + 32;

/// The size of an answer so far.
struct Measured<'a> {
    view: &'a View,
    bytes: usize,
    /// Bytes that the transaction has put so far. Every later range may return all of them.
    written: usize,
}

impl Measured<'_> {
    fn add(&mut self, bytes: usize) {
        self.view.keep(bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl RowSink for Measured<'_> {
    fn row(&mut self, row: RecordRef<'_>) -> ControlFlow<()> {
        // Twice the bytes: while the answer is encoded, memory holds the rows and the encoding.
        self.add(size_of::<KeyValue>() + 2 * (row.key.len() + row.value.len()));
        ControlFlow::Continue(())
    }
}

impl View {
    /// Approximate memory of the answer to a write if it were executed now, in bytes: its rows, and
    /// the answers to the operations of a transaction. Reports the bytes to the view's
    /// [`ReadContext`](crate::mvcc::ReadContext) as it finds them, and ends early if the reader has
    /// given up.
    ///
    /// # Errors
    /// The write would be refused (its answer then has no rows), or the database cannot be read.
    pub fn measure(&self, command: &Command) -> Result<usize, Error> {
        let mut measured = Measured { view: self, bytes: 0, written: 0 };
        match command {
            Command::Put(put) => measured.put(put)?,
            Command::DeleteRange(delete) if delete.prev_kv => {
                let range = KeyRange::from_wire(delete.key.clone(), delete.range_end.clone());
                measured.walk(&range)?;
            }
            Command::Txn(txn) => {
                measured.add(operations(txn) * OPERATION_BYTES);
                if txn.success.iter().chain(&txn.failure).any(answers_rows) {
                    let path = decide(self, txn, &mut Tally::default())?;
                    measured.txn(txn, &mut path.into_iter())?;
                }
            }
            _ => {}
        }
        Ok(measured.bytes)
    }
}

impl Measured<'_> {
    fn walk(&mut self, range: &KeyRange) -> Result<(), Error> {
        let view = self.view;
        view.walk(range, view.revision, true, &mut |row| self.row(row))?;
        Ok(())
    }

    fn put(&mut self, put: &PutRequest) -> Result<(), Error> {
        if put.prev_kv {
            self.walk(&KeyRange::single(put.key.clone()))?;
            self.add(2 * self.written);
        }
        self.written += put.key.len() + put.value.len();
        Ok(())
    }

    fn txn(
        &mut self,
        txn: &TxnRequest,
        path: &mut impl Iterator<Item = bool>,
    ) -> Result<(), Error> {
        for op in chosen(txn, path).1 {
            match &op.request {
                Some(Request::RequestRange(range)) => {
                    self.view.check_revision(range.revision)?;
                    self.view.range(range, false, self)?;
                    self.add(2 * self.written);
                }
                Some(Request::RequestPut(put)) => self.put(put)?,
                Some(Request::RequestDeleteRange(delete)) if delete.prev_kv => {
                    let end = delete.range_end.clone();
                    self.walk(&KeyRange::from_wire(delete.key.clone(), end))?;
                    self.add(2 * self.written);
                }
                Some(Request::RequestTxn(nested)) => self.txn(nested, path)?,
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
        Ok(())
    }
}

/// The number of operations of the longer branches, nested transactions included.
fn operations(txn: &TxnRequest) -> usize {
    let of = |ops: &[RequestOp]| ops.iter().map(operations_in).sum::<usize>();
    of(&txn.success).max(of(&txn.failure))
}

fn operations_in(op: &RequestOp) -> usize {
    match &op.request {
        Some(Request::RequestTxn(nested)) => 1 + operations(nested),
        _ => 1,
    }
}

/// Whether the answer to an operation may have rows.
fn answers_rows(op: &RequestOp) -> bool {
    match &op.request {
        Some(Request::RequestRange(range)) => !range.count_only,
        Some(Request::RequestPut(put)) => put.prev_kv,
        Some(Request::RequestDeleteRange(delete)) => delete.prev_kv,
        Some(Request::RequestTxn(nested)) => {
            nested.success.iter().chain(&nested.failure).any(answers_rows)
        }
        None => false,
    }
}
