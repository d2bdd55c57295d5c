//! One operation of a client.

use std::fmt::{self, Display, Formatter};

use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_proto::etcdserverpb::response_op::Response as OpResponse;
use quorate_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentResponse, DeleteRangeRequest,
    DeleteRangeResponse, HashKvRequest, HashKvResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, StatusResponse, TxnRequest,
    TxnResponse,
};
use tonic::Code;

use super::Moment;

/// A request of a client.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are etcd's requests, under their names")]
pub enum Request {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
    LeaseKeepAlive(LeaseKeepAliveRequest),
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    LeaseLeases,
    HashKv(HashKvRequest),
    Status,
    Defragment,
}

/// A response to a client.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are etcd's responses, under their names")]
pub enum Response {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    LeaseKeepAlive(LeaseKeepAliveResponse),
    LeaseTimeToLive(LeaseTimeToLiveResponse),
    LeaseLeases(LeaseLeasesResponse),
    HashKv(HashKvResponse),
    Status(StatusResponse),
    Defragment(DefragmentResponse),
}

/// The outcome of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The operation was applied, with this response.
    Answered(Response),
    /// The operation was not applied and never will be.
    Refused(Code, String),
    /// The operation may have been applied, or may be applied later.
    Unknown(String),
    /// The connection was refused, so no member got the request: it was not applied and never will
    /// be.
    NotSent(String),
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Unique in the campaign. The values that the operation writes contain it; see
    /// [`value`](crate::workload::value).
    pub id: u64,
    /// The client. It has one operation in flight at a time.
    pub client: u64,
    /// The member that the request was sent to.
    pub member: usize,
    /// A moment before the client sent the request.
    pub invoked: Moment,
    /// A moment after the client knew the outcome. Meaningless when the outcome is unknown.
    pub returned: Moment,
    /// The request.
    pub request: Request,
    /// The outcome.
    pub outcome: Outcome,
}

impl Request {
    /// Whether the request can change keys.
    pub fn may_write(&self) -> bool {
        match self {
            Self::Put(_) | Self::DeleteRange(_) | Self::LeaseRevoke(_) => true,
            Self::Txn(txn) => txn.success.iter().chain(&txn.failure).any(op_may_write),
            _ => false,
        }
    }

    /// Whether a member answers the request from its own state, which may lag behind other members.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Range(range) => range.serializable,
            Self::Txn(txn) => txn.success.iter().chain(&txn.failure).all(op_is_local),
            Self::Status | Self::HashKv(_) | Self::LeaseLeases | Self::LeaseKeepAlive(_) => true,
            _ => false,
        }
    }

    /// The lease that the request needs; 0 means none.
    pub fn lease(&self) -> i64 {
        match self {
            Self::Put(put) => put.lease,
            Self::Txn(txn) => {
                txn.success.iter().chain(&txn.failure).find_map(op_lease).unwrap_or(0)
            }
            Self::LeaseRevoke(revoke) => revoke.id,
            Self::LeaseKeepAlive(keep_alive) => keep_alive.id,
            Self::LeaseTimeToLive(time) => time.id,
            _ => 0,
        }
    }
}

fn op_may_write(op: &RequestOp) -> bool {
    matches!(op.request, Some(Op::RequestPut(_) | Op::RequestDeleteRange(_)))
}

fn op_is_local(op: &RequestOp) -> bool {
    matches!(&op.request, Some(Op::RequestRange(range)) if range.serializable)
}

fn op_lease(op: &RequestOp) -> Option<i64> {
    match &op.request {
        Some(Op::RequestPut(put)) if put.lease != 0 => Some(put.lease),
        _ => None,
    }
}

impl Response {
    /// The response header. `None` where etcd sends none.
    pub fn header(&self) -> Option<&ResponseHeader> {
        match self {
            Self::Range(r) => r.header.as_ref(),
            Self::Put(r) => r.header.as_ref(),
            Self::DeleteRange(r) => r.header.as_ref(),
            Self::Txn(r) => r.header.as_ref(),
            Self::Compact(r) => r.header.as_ref(),
            Self::LeaseGrant(r) => r.header.as_ref(),
            Self::LeaseRevoke(r) => r.header.as_ref(),
            Self::LeaseKeepAlive(r) => r.header.as_ref(),
            Self::LeaseTimeToLive(r) => r.header.as_ref(),
            Self::LeaseLeases(r) => r.header.as_ref(),
            Self::HashKv(r) => r.header.as_ref(),
            Self::Status(r) => r.header.as_ref(),
            Self::Defragment(_) => None,
        }
    }

    /// Whether the response says that keys changed. A revocation does not say so.
    pub fn says_written(&self) -> bool {
        match self {
            Self::Put(_) => true,
            Self::DeleteRange(response) => response.deleted > 0,
            Self::Txn(txn) => txn.responses.iter().any(|op| match &op.response {
                Some(OpResponse::ResponsePut(_)) => true,
                Some(OpResponse::ResponseDeleteRange(response)) => response.deleted > 0,
                _ => false,
            }),
            _ => false,
        }
    }
}

impl Operation {
    /// The response, if the operation was answered.
    pub fn response(&self) -> Option<&Response> {
        match &self.outcome {
            Outcome::Answered(response) => Some(response),
            Outcome::Refused(..) | Outcome::Unknown(_) | Outcome::NotSent(_) => None,
        }
    }

    /// The revision in the response header, if there is one.
    pub fn revision(&self) -> Option<i64> {
        Some(self.response()?.header()?.revision)
    }

    /// Whether the operation may or may not have been applied.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// Whether no member reported the outcome.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_) | Outcome::NotSent(_))
    }
}

/// Requests and outcomes are cut after this many characters, because values can be long.
const SHOWN_BYTES: usize = 400;

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let cut = |text: String| text.chars().take(SHOWN_BYTES).collect::<String>();
        write!(
            f,
            "operation {} of client {} at member {}, invoked at {}",
            self.id, self.client, self.member, self.invoked.order
        )?;
        if !self.is_unanswered() {
            write!(f, ", returned at {}", self.returned.order)?;
        }
        let request = format!("{:?}", self.request);
        let outcome = format!("{:?}", self.outcome);
        write!(f, ":\n  {}\n  {}", cut(request), cut(outcome))
    }
}
