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

/// What a client can ask for.
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

/// What a client can be answered.
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

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was carried out, with this response.
    Answered(Response),
    /// It was not carried out, and never will be.
    Refused(Code, String),
    /// Nobody knows: it may have been carried out, or may yet be.
    Unknown(String),
    /// Nobody heard it, for the connection was refused: it was not carried out, and never will be.
    Unheard(String),
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Unlike that of any other operation in the campaign. What it writes says it; see
    /// [`value`](crate::workload::value).
    pub id: u64,
    /// The client, which waits for one outcome before it asks for anything else.
    pub client: u64,
    /// The member that was asked.
    pub member: usize,
    /// A moment before the request was sent.
    pub invoked: Moment,
    /// A moment after the outcome was known; of no meaning when it is unknown.
    pub returned: Moment,
    /// What was asked for.
    pub request: Request,
    /// What came of it.
    pub outcome: Outcome,
}

impl Request {
    /// Whether it can change keys.
    pub fn may_write(&self) -> bool {
        match self {
            Self::Put(_) | Self::DeleteRange(_) | Self::LeaseRevoke(_) => true,
            Self::Txn(txn) => txn.success.iter().chain(&txn.failure).any(op_may_write),
            _ => false,
        }
    }

    /// Whether it is answered from what the member has at hand, which other members may be ahead
    /// of.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Range(range) => range.serializable,
            Self::Txn(txn) => txn.success.iter().chain(&txn.failure).all(op_is_local),
            Self::Status | Self::HashKv(_) | Self::LeaseLeases | Self::LeaseKeepAlive(_) => true,
            _ => false,
        }
    }

    /// The lease that it needs; 0 for none.
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
    /// The header; `None` where etcd sends none.
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

    /// Whether it says that keys were changed. A revocation does not say so.
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
    /// The response, if there was one.
    pub fn response(&self) -> Option<&Response> {
        match &self.outcome {
            Outcome::Answered(response) => Some(response),
            Outcome::Refused(..) | Outcome::Unknown(_) | Outcome::Unheard(_) => None,
        }
    }

    /// The header's revision, if there was an answer with one.
    pub fn revision(&self) -> Option<i64> {
        Some(self.response()?.header()?.revision)
    }

    /// Whether it may have been carried out or not.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    /// Whether no member said what came of it.
    pub fn is_unanswered(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_) | Outcome::Unheard(_))
    }
}

/// Text of a request is cut here: values can be long.
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
        let (request, outcome) = (format!("{:?}", self.request), format!("{:?}", self.outcome));
        write!(f, ":\n  {}\n  {}", cut(request), cut(outcome))
    }
}
