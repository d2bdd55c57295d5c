//! The cost of a request against the space quota, by etcd 3.7's estimate.

use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};

use crate::Command;

/// Cost of a put in addition to the bytes of its key and value.
const KEY_OVERHEAD_BYTES: u64 = 256;
/// Cost of a lease.
const LEASE_BYTES: u64 = 64;

/// Approximate bytes that a command may add; 0 for commands that the NOSPACE alarm does not refuse.
pub fn cost(command: &Command) -> u64 {
    match command {
        Command::Put(put) => put_cost(put),
        Command::Txn(txn) => txn_cost(txn),
        Command::LeaseGrant(_) => LEASE_BYTES,
        Command::DeleteRange(_)
        | Command::Compact(_)
        | Command::LeaseRevoke(_)
        | Command::LeaseExpire(_)
        | Command::Alarm(_)
        | Command::MemberPublish(_)
        | Command::Auth(_)
        | Command::Authenticate(_) => 0,
    }
}

fn put_cost(put: &PutRequest) -> u64 {
    KEY_OVERHEAD_BYTES + put.key.len() as u64 + put.value.len() as u64
}

/// The cost of the more expensive branch.
fn txn_cost(txn: &TxnRequest) -> u64 {
    branch_cost(&txn.success).max(branch_cost(&txn.failure))
}

fn branch_cost(ops: &[RequestOp]) -> u64 {
    let costs = ops.iter().map(|op| match &op.request {
        Some(Request::RequestPut(put)) => put_cost(put),
        Some(Request::RequestTxn(txn)) => txn_cost(txn),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    });
    costs.sum()
}
