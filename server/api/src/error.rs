//! The table of errors: maps every internal error to etcd's exact code and text.
//!
//! The Go client recognizes errors by their text, other clients and alerts by their code. The codes
//! are those that etcd 3.7 sends.

use quorate_core::Refusal;
use quorate_core::txn::check::Invalid;
use quorate_raft::{MemberError, RequestError};
use tonic::{Code, Status};

/// An error as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// A key is missing.
    EmptyKey,
    /// A key that must exist does not. Also used for an operation that is empty.
    KeyNotFound,
    /// A put with `ignore_value` has a value.
    ValueProvided,
    /// A put with `ignore_lease` has a lease.
    LeaseProvided,
    /// A transaction has too many operations.
    TooManyOps,
    /// A transaction writes a key twice.
    DuplicateKey,
    /// The client's API version is not text.
    InvalidClientApiVersion,
    /// The sort option does not exist.
    InvalidSortOption,
    /// The revision is compacted.
    Compacted,
    /// The revision is in the future.
    FutureRev,
    /// The space quota is exceeded.
    NoSpace,
    /// The lease does not exist.
    LeaseNotFound,
    /// The lease exists already.
    LeaseExist,
    /// The TTL is too large.
    LeaseTtlTooLarge,
    /// The client ended the watch stream.
    WatchCanceled,
    /// The request is larger than the configured limit.
    RequestTooLarge,
    /// Too many requests are in flight.
    TooManyRequests,
    /// There is no leader.
    NoLeader,
    /// This member is not the leader.
    NotLeader,
    /// The leader changed while the request was in flight.
    LeaderChanged,
    /// The member is stopping.
    Stopped,
    /// The request timed out.
    Timeout,
    /// The request timed out, and a new leader was elected meanwhile.
    TimeoutDueToLeaderFail,
    /// The request timed out, and the leader was unreachable meanwhile.
    TimeoutDueToConnectionLost,
    /// No leader accepted the request in time.
    DeadlineExceeded,
    /// The CORRUPT alarm is raised.
    Corrupt,
    /// The alarm type does not exist. etcd would raise an alarm of an unknown type.
    UnknownAlarm,
    /// The leadership cannot be transferred to this member.
    BadLeaderTransferee,
    /// The member does not exist.
    MemberNotFound,
    /// Another member has the peer URL.
    PeerUrlExist,
    /// The peer URLs are missing or invalid.
    MemberBadUrls,
    /// Too few members have started.
    MemberNotEnoughStarted,
    /// Only a learner can be promoted.
    MemberNotLearner,
    /// The learner lags behind.
    LearnerNotReady,
    /// There are too many learners.
    TooManyLearners,
    /// Too few members are connected.
    Unhealthy,
    /// A learner does not answer this request.
    NotSupportedForLearner,
}

impl ApiError {
    /// The gRPC code.
    pub fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::InvalidClientApiVersion
            | Self::InvalidSortOption
            | Self::RequestTooLarge
            | Self::UnknownAlarm
            | Self::MemberBadUrls => Code::InvalidArgument,
            Self::Compacted | Self::FutureRev | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace => Code::ResourceExhausted,
            Self::LeaseNotFound | Self::MemberNotFound => Code::NotFound,
            Self::LeaseExist
            | Self::NotLeader
            | Self::BadLeaderTransferee
            | Self::PeerUrlExist
            | Self::MemberNotLearner
            | Self::LearnerNotReady
            | Self::TooManyLearners
            | Self::NotSupportedForLearner => Code::FailedPrecondition,
            Self::WatchCanceled => Code::Cancelled,
            // etcd declares codes for these errors, but sends them as Unknown.
            Self::TooManyRequests | Self::MemberNotEnoughStarted => Code::Unknown,
            Self::NoLeader
            | Self::LeaderChanged
            | Self::Stopped
            | Self::Timeout
            | Self::TimeoutDueToLeaderFail
            | Self::TimeoutDueToConnectionLost
            | Self::Unhealthy => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Corrupt => Code::DataLoss,
        }
    }

    /// The text.
    pub fn text(self) -> &'static str {
        match self {
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOps => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::InvalidClientApiVersion => "etcdserver: invalid client api version",
            Self::InvalidSortOption => "etcdserver: invalid sort option",
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRev => "etcdserver: mvcc: required revision is a future revision",
            Self::NoSpace => "etcdserver: mvcc: database space exceeded",
            Self::UnknownAlarm => "etcdserver: unknown alarm type",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExist => "etcdserver: lease already exists",
            Self::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            Self::WatchCanceled => "etcdserver: watch canceled",
            Self::RequestTooLarge => "etcdserver: request is too large",
            Self::TooManyRequests => "etcdserver: too many requests",
            Self::NoLeader => "etcdserver: no leader",
            Self::NotLeader => "etcdserver: not leader",
            Self::LeaderChanged => "etcdserver: leader changed",
            Self::Stopped => "etcdserver: server stopped",
            Self::Timeout => "etcdserver: request timed out",
            Self::TimeoutDueToLeaderFail => {
                "etcdserver: request timed out, possibly due to previous leader failure"
            }
            Self::TimeoutDueToConnectionLost => {
                "etcdserver: request timed out, possibly due to connection lost"
            }
            // The text of Go's error, which etcd passes on.
            Self::DeadlineExceeded => "context deadline exceeded",
            Self::Corrupt => "etcdserver: corrupt cluster",
            Self::BadLeaderTransferee => "etcdserver: bad leader transferee",
            Self::MemberNotFound => "etcdserver: member not found",
            Self::PeerUrlExist => "etcdserver: Peer URLs already exists",
            Self::MemberBadUrls => "etcdserver: given member URLs are invalid",
            Self::MemberNotEnoughStarted => {
                "etcdserver: re-configuration failed due to not enough started members"
            }
            Self::MemberNotLearner => "etcdserver: can only promote a learner member",
            Self::LearnerNotReady => {
                "etcdserver: can only promote a learner member which is in sync with leader"
            }
            Self::TooManyLearners => "etcdserver: too many learner members in cluster",
            Self::Unhealthy => "etcdserver: unhealthy cluster",
            Self::NotSupportedForLearner => "etcdserver: rpc not supported for learner",
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        Self::new(error.code(), error.text())
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::EmptyKey => Self::EmptyKey,
            Invalid::EmptyOperation => Self::KeyNotFound,
            Invalid::ValueProvided => Self::ValueProvided,
            Invalid::LeaseProvided => Self::LeaseProvided,
            Invalid::TooManyOperations => Self::TooManyOps,
            Invalid::DuplicateKey => Self::DuplicateKey,
            Invalid::SortOption => Self::InvalidSortOption,
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Compacted => Self::Compacted,
            Refusal::FutureRevision => Self::FutureRev,
            Refusal::KeyNotFound => Self::KeyNotFound,
            Refusal::LeaseNotFound => Self::LeaseNotFound,
            Refusal::LeaseExists => Self::LeaseExist,
            Refusal::LeaseTtlTooLarge => Self::LeaseTtlTooLarge,
            Refusal::NoSpace => Self::NoSpace,
            Refusal::Corrupt => Self::Corrupt,
            Refusal::UnknownAlarm => Self::UnknownAlarm,
            Refusal::UnknownMember => Self::MemberNotFound,
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refusal(refusal) => refusal.into(),
            RequestError::TooManyRequests => Self::TooManyRequests,
            RequestError::NoLeader => Self::NoLeader,
            RequestError::LeaderChanged => Self::LeaderChanged,
            RequestError::Timeout => Self::Timeout,
            RequestError::NotTaken => Self::DeadlineExceeded,
            RequestError::LeaderFailed => Self::TimeoutDueToLeaderFail,
            RequestError::ConnectionLost => Self::TimeoutDueToConnectionLost,
            RequestError::Stopped => Self::Stopped,
        }
    }
}

impl From<MemberError> for ApiError {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotFound => Self::MemberNotFound,
            MemberError::UrlExists => Self::PeerUrlExist,
            MemberError::NotLearner => Self::MemberNotLearner,
            MemberError::LearnerNotReady => Self::LearnerNotReady,
            MemberError::TooManyLearners => Self::TooManyLearners,
            MemberError::NotEnoughStarted => Self::MemberNotEnoughStarted,
            MemberError::Unhealthy => Self::Unhealthy,
            MemberError::CannotLead => Self::BadLeaderTransferee,
            MemberError::NotLeader => Self::NotLeader,
            MemberError::Request(error) => error.into(),
        }
    }
}

/// The gRPC status of an error.
pub(crate) fn status(error: impl Into<ApiError>) -> Status {
    error.into().into()
}
