//! Transactions: the checks before they are proposed, the comparisons, and the execution.
//!
//! The whole tree of nested transactions is decided before anything is written: nested comparisons
//! do not see the writes of the transaction around them. Then the operations of the chosen branches
//! run in order, and all their writes share one main revision.

pub mod check;
mod compare;
mod execute;
mod measure;

use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{RequestOp, TxnRequest};

pub(crate) use compare::decide;
pub(crate) use execute::header;

/// Whether every operation in both branches is a range, so that the transaction needs no log
/// entry. A nested transaction counts as a write, as in etcd.
pub fn is_read_only(request: &TxnRequest) -> bool {
    let is_range = |op: &RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    request.success.iter().chain(&request.failure).all(is_range)
}

/// Whether a read-only transaction may be answered from local state: every range in it is
/// serializable.
pub fn is_serializable(request: &TxnRequest) -> bool {
    let is_local =
        |op: &RequestOp| matches!(&op.request, Some(Request::RequestRange(r)) if r.serializable);
    request.success.iter().chain(&request.failure).all(is_local)
}
