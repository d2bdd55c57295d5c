//! Claims on a lock or on the leadership of an election: keys with a common prefix, one key for
//! each lease. The claim with the lowest create revision owns the lock or leads. Every other claim
//! waits for the end of the claim before it, so the end of a claim wakes only one call.

pub(super) mod claim_watch;
pub(super) mod withdrawal;

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::response_op::Response;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::mvccpb::KeyValue;

use super::Answered;
use crate::access::session::Session;
use crate::error::ApiError;
use crate::server::Server;
use claim_watch::ClaimWatch;

/// The TTL in seconds of a lease that the server grants to a call without a lease.
const SESSION_TTL: i64 = 60;

/// A claim. It may have ended since it was made or found.
pub(super) struct Claim {
    prefix: Bytes,
    pub(super) key: Bytes,
    /// The create revision of the key.
    pub(super) revision: i64,
}

/// The prefix of all claims on the lock or election `name`.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The key of a lease's claim: the prefix, then the lease in hexadecimal digits.
fn claim_key(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

/// The end of the range of all keys with this prefix. The last byte of the prefix is `/`.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    end.pop();
    end.push(b'/' + 1);
    end.into()
}

/// A request that reads the claim with the lowest create revision.
pub(super) fn oldest(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..Default::default()
    }
}

/// A request that reads one key.
fn alone(key: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key: key.clone(), ..Default::default() }
}

/// A request that deletes one key.
pub(super) fn deletion(key: &Bytes) -> Request {
    let key = key.clone();
    Request::RequestDeleteRange(pb::DeleteRangeRequest { key, ..Default::default() })
}

/// A request that puts a key with a lease.
pub(super) fn putting(key: &Bytes, value: Bytes, lease: i64) -> Request {
    Request::RequestPut(pb::PutRequest { key: key.clone(), value, lease, ..Default::default() })
}

/// A comparison that holds while the key has this create revision. Revision 0 means that the key
/// does not exist.
pub(super) fn is_created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

fn operations(requests: Vec<Request>) -> Vec<pb::RequestOp> {
    requests.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
}

/// A transaction that executes the requests if all comparisons hold.
pub(super) fn transaction(compare: Vec<pb::Compare>, requests: Vec<Request>) -> pb::TxnRequest {
    pb::TxnRequest { compare, success: operations(requests), failure: Vec::new() }
}

/// The first row that the operation at this position has read; `None` if the operation has read no
/// row or is no range.
pub(super) fn row(response: &pb::TxnResponse, at: usize) -> Option<&KeyValue> {
    match response.responses.get(at)?.response.as_ref()? {
        Response::ResponseRange(range) => range.kvs.first(),
        _ => None,
    }
}

impl Server {
    /// The lease of a call: the lease that the client names, or a new lease if the client names
    /// none.
    pub(super) async fn lease_of(&self, session: &Session, lease: i64) -> Result<i64, ApiError> {
        if lease != 0 {
            return Ok(lease);
        }
        let request = pb::LeaseGrantRequest { ttl: SESSION_TTL, id: 0 };
        Ok(self.lease_grant(session, request).await?.id)
    }

    /// Makes a claim on the lock or election `name`. If the lease already has a claim, returns the
    /// existing claim, and the row of that claim is the first in the answer. The same transaction
    /// also reads the range `also`.
    pub(super) async fn claim(
        &self,
        session: &Session,
        name: &[u8],
        lease: i64,
        value: Bytes,
        also: Option<pb::RangeRequest>,
    ) -> Result<(Claim, Answered<pb::TxnResponse>), ApiError> {
        let prefix = prefix(name);
        let key = claim_key(&prefix, lease);
        let also = also.map(Request::RequestRange);
        let with_also = |first| operations([first].into_iter().chain(also.clone()).collect());
        let request = pb::TxnRequest {
            compare: vec![is_created_at(&key, 0)],
            success: with_also(putting(&key, value, lease)),
            failure: with_also(Request::RequestRange(alone(&key))),
        };
        let answered = self.txn(session, request).await?;
        let response = &answered.message;
        let revision = if response.succeeded {
            response.header.as_ref().map(|header| header.revision)
        } else {
            row(response, 0).map(|older| older.create_revision)
        };
        let revision = revision.ok_or(ApiError::UnexpectedReply)?;
        Ok((Claim { prefix, key, revision }, answered))
    }

    /// Reads the first row of each range, linearizably and at one revision.
    pub(super) async fn first_rows(
        &self,
        session: &Session,
        ranges: Vec<pb::RangeRequest>,
    ) -> Result<Answered<pb::TxnResponse>, ApiError> {
        let ranges = ranges.into_iter().map(Request::RequestRange).collect();
        self.txn(session, transaction(Vec::new(), ranges)).await
    }

    /// Waits until no other claim is before this claim. Returns the header of the read that found
    /// no such claim, or `None` if this claim itself has ended.
    pub(super) async fn await_turn(
        &self,
        session: &Session,
        claim: &Claim,
    ) -> Result<Option<pb::ResponseHeader>, ApiError> {
        let before = pb::RangeRequest {
            sort_order: SortOrder::Descend as i32,
            max_create_revision: claim.revision - 1,
            keys_only: true,
            ..oldest(&claim.prefix)
        };
        loop {
            let ranges = vec![before.clone(), alone(&claim.key)];
            let Answered { message, permit } = self.first_rows(session, ranges).await?;
            let still_there = row(&message, 1).filter(|own| own.create_revision == claim.revision);
            if still_there.is_none() {
                return Ok(None);
            }
            let header = message.header.unwrap_or_default();
            let Some(before) = row(&message, 0) else { return Ok(Some(header)) };
            let key = before.key.clone();
            drop((message, permit));
            self.await_deletion(session, key, header.revision + 1).await?;
        }
    }

    /// Waits until the key is deleted at or after `start_revision`, or until `start_revision` is
    /// compacted. In both cases, the caller has to read again.
    async fn await_deletion(
        &self,
        session: &Session,
        key: Bytes,
        start_revision: i64,
    ) -> Result<(), ApiError> {
        let filters = vec![FilterType::Noput as i32];
        let create = pb::WatchCreateRequest { key, start_revision, filters, ..Default::default() };
        ClaimWatch::open(self, session, create, false).next().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_go_client() {
        let prefix = prefix(b"name");
        for (lease, key) in
            [(0xabc, "name/abc"), (-1, "name/-1"), (i64::MIN, "name/-8000000000000000")]
        {
            assert_eq!(claim_key(&prefix, lease), key);
        }
        assert_eq!(prefix_end(&prefix), "name0");
    }
}
