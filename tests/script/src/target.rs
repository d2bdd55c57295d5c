//! The interface between scripts and the stores they run against.

use std::time::Duration;

use quorate_proto::etcdserverpb as pb;

use crate::auth::{AuthAnswer, AuthCall};

/// A gRPC status with which a store refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name of the code, such as `NotFound`.
    pub code: String,
    /// The message.
    pub message: String,
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The store refuses the request, which is its answer.
    Refused(Status),
    /// The target or the test failed, which ends the script. The text says why.
    Broken(String),
}

impl Failure {
    /// The failure of a target that does not support a request.
    pub fn unsupported(what: &str) -> Self {
        Self::Broken(format!("this target does not support {what}"))
    }
}

/// The answer to a request.
pub type Answer<T> = Result<T, Failure>;

/// A store that answers requests one after the other. For a request that it does not support, it
/// returns [`Failure::unsupported`].
#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "each is the call of that name, and says what the call says"
)]
pub trait Target {
    /// The id of the answering member.
    fn member_id(&mut self) -> u64;

    /// Called before each command: the target may reorganise its data, invisibly to the script.
    fn reorganize(&mut self);

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

    /// A call of the Auth service.
    fn auth(&mut self, call: AuthCall) -> Answer<AuthAnswer>;

    /// Makes the calls from now on with this token, or without one.
    fn use_token(&mut self, _token: Option<String>) -> Answer<()> {
        Err(Failure::unsupported("tokens"))
    }

    /// A streamed range: its parts, and the error with which it ended, if any.
    fn range_stream(
        &mut self,
        _request: pb::RangeRequest,
    ) -> (Vec<pb::RangeStreamResponse>, Option<Failure>) {
        (Vec::new(), Some(Failure::unsupported("a streamed range")))
    }

    /// One keep-alive on a new stream.
    fn lease_keep_alive(
        &mut self,
        _request: pb::LeaseKeepAliveRequest,
    ) -> Answer<pb::LeaseKeepAliveResponse> {
        Err(Failure::unsupported("a keep-alive"))
    }

    /// Sends a request on a watch stream, which is opened on first use.
    fn watch(&mut self, stream: &str, request: pb::WatchRequest) -> Answer<()>;

    /// The next message of a watch stream; `None` if there is none within `wait`.
    fn watched(&mut self, stream: &str, wait: Duration) -> Answer<Option<pb::WatchResponse>>;
}
