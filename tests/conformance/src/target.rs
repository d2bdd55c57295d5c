//! The interface between scripts and the stores they run against.

use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use tonic::{Code, Status};

/// An answer, or the gRPC status that takes its place.
pub type Answer<T> = Result<T, Status>;

/// A store that answers requests one after the other. For a request that it does not support, it
/// returns `unanswerable`, which ends the script.
#[allow(missing_docs, reason = "each is the call of that name, and says what the call says")]
pub trait Target {
    /// The id of the answering member.
    fn member_id(&mut self) -> u64;

    /// Called before each command: the target may reorganise its data, invisibly to the script.
    fn stir(&mut self);

    fn range(&mut self, request: pb::RangeRequest) -> Answer<pb::RangeResponse>;
    fn put(&mut self, request: pb::PutRequest) -> Answer<pb::PutResponse>;
    fn delete_range(&mut self, request: pb::DeleteRangeRequest) -> Answer<pb::DeleteRangeResponse>;
    fn txn(&mut self, request: pb::TxnRequest) -> Answer<pb::TxnResponse>;
    fn compact(&mut self, request: pb::CompactionRequest) -> Answer<pb::CompactionResponse>;
    fn lease_grant(&mut self, request: pb::LeaseGrantRequest) -> Answer<pb::LeaseGrantResponse>;
    fn lease_revoke(&mut self, request: pb::LeaseRevokeRequest) -> Answer<pb::LeaseRevokeResponse>;
    fn lease_time_to_live(
        &mut self,
        request: pb::LeaseTimeToLiveRequest,
    ) -> Answer<pb::LeaseTimeToLiveResponse>;
    fn lease_leases(&mut self) -> Answer<pb::LeaseLeasesResponse>;
    fn hash_kv(&mut self, request: pb::HashKvRequest) -> Answer<pb::HashKvResponse>;
    fn alarm(&mut self, request: pb::AlarmRequest) -> Answer<pb::AlarmResponse>;

    /// A streamed range: its parts, and the error with which it ended, if any.
    fn range_stream(
        &mut self,
        _request: pb::RangeRequest,
    ) -> (Vec<pb::RangeStreamResponse>, Option<Status>) {
        (Vec::new(), Some(unanswerable("a streamed range")))
    }

    /// One keep-alive on a new stream.
    fn lease_keep_alive(
        &mut self,
        _request: pb::LeaseKeepAliveRequest,
    ) -> Answer<pb::LeaseKeepAliveResponse> {
        Err(unanswerable("a keep-alive"))
    }

    /// Sends a request on a watch stream, which is opened on first use.
    fn watch(&mut self, stream: &str, request: pb::WatchRequest) -> Answer<()>;

    /// The next message of a watch stream; `None` if there is none within `wait`.
    fn watched(&mut self, stream: &str, wait: Duration) -> Answer<Option<pb::WatchResponse>>;
}

/// Marks, in an error's details, that it is not an answer.
const NO_ANSWER: &str = "not an answer";

/// The error for a request that the target does not support.
pub(crate) fn unanswerable(what: &str) -> Status {
    broken(&format!("{what} is none of this target's business"))
}

/// An error that ends the script.
pub(crate) fn broken(why: &str) -> Status {
    Status::with_details(Code::Internal, why, NO_ANSWER.into())
}

/// Whether a status is the server's answer, and not a failure of the target or the test.
pub(crate) fn is_answer(status: &Status) -> bool {
    status.details() != NO_ANSWER.as_bytes()
}
