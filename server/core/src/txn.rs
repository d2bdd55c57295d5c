//! Transactions: the checks before a proposal, the comparisons and the execution.
//!
//! As in etcd, all comparisons of a transaction and of those nested in it are evaluated before its
//! first write: nested comparisons do not see the writes of the transaction around them. Then the
//! operations of the chosen branches run in order, and all their writes share one main revision.

pub mod check;
mod compare;
mod execute;
mod measure;

use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{RequestOp, TxnRequest};

pub(crate) use compare::decide;
pub(crate) use execute::header;

/// Whether every operation in both branches is a range, so that the transaction needs no log entry.
/// As in etcd, a nested transaction counts as a write.
pub fn is_read_only(request: &TxnRequest) -> bool {
    let is_range = |op: &RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    request.success.iter().chain(&request.failure).all(is_range)
}

/// Whether every operation is a serializable range, so that local state may answer the transaction.
pub fn is_serializable(request: &TxnRequest) -> bool {
    let is_local =
        |op: &RequestOp| matches!(&op.request, Some(Request::RequestRange(r)) if r.serializable);
    request.success.iter().chain(&request.failure).all(is_local)
}
