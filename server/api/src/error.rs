//! The table of errors: maps every error to the exact code and text that etcd sends.
//!
//! The Go client recognizes errors by their text, other clients and alerts by their code. The codes
//! are those that etcd 3.7 sends. Each wire encodes them in its own way. Errors of a wire itself,
//! such as a malformed message, are not in this table: they have grpc-go's texts, and belong to
//! that wire.
//!
//! This table has only errors of calls. etcd's other texts (the reasons in metrics and the health
//! pages) are in the files that use them.

use std::fmt::Display;

use quorate_core::Refusal;
use quorate_core::txn::check::Invalid;
use quorate_raft::{MemberError, RequestError};
use tonic::Code;

/// Makes the error type from the table: a variant, its code and its text.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident: $code:ident, $text:literal;)*) => {
        /// An error as clients see it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum ApiError {
            $($(#[$doc])* $name,)*
            /// An error whose text is not in the table: the reason of a failed defragmentation, or
            /// the wire's error on a client's stream of requests.
            Other(Code, String),
        }

        impl ApiError {
            /// The code, which is one of gRPC's.
            pub fn code(&self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                    Self::Other(code, _) => *code,
                }
            }

            /// The text.
            pub fn text(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(_, text) => text,
                }
            }
        }
    };
}

errors! {
    /// A key is missing.
    EmptyKey: InvalidArgument, "etcdserver: key is not provided";
    /// A key that must exist does not exist. Also used for an empty operation.
    KeyNotFound: InvalidArgument, "etcdserver: key not found";
    /// A put with `ignore_value` has a value.
    ValueProvided: InvalidArgument, "etcdserver: value is provided";
    /// A put with `ignore_lease` has a lease.
    LeaseProvided: InvalidArgument, "etcdserver: lease is provided";
    /// A transaction has too many operations.
    TooManyOps: InvalidArgument, "etcdserver: too many operations in txn request";
    /// A transaction writes a key twice.
    DuplicateKey: InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The client's API version is not text.
    InvalidClientApiVersion: InvalidArgument, "etcdserver: invalid client api version";
    /// The sort option does not exist.
    InvalidSortOption: InvalidArgument, "etcdserver: invalid sort option";
    /// The revision is compacted.
    Compacted: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision is in the future.
    FutureRev: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The space quota is exceeded.
    NoSpace: ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// The lease does not exist.
    LeaseNotFound: NotFound, "etcdserver: requested lease not found";
    /// The lease exists already.
    LeaseExist: FailedPrecondition, "etcdserver: lease already exists";
    /// The TTL is too large.
    LeaseTtlTooLarge: OutOfRange, "etcdserver: too large lease TTL";
    /// The client ended the watch stream.
    WatchCanceled: Cancelled, "etcdserver: watch canceled";
    /// The request is larger than the configured limit.
    RequestTooLarge: InvalidArgument, "etcdserver: request is too large";
    /// Too many requests are in flight.
    // etcd declares another code for this error, but sends Unknown.
    TooManyRequests: Unknown, "etcdserver: too many requests";
    /// There is no leader.
    NoLeader: Unavailable, "etcdserver: no leader";
    /// This member is not the leader.
    NotLeader: FailedPrecondition, "etcdserver: not leader";
    /// The leader changed while the request was in flight.
    LeaderChanged: Unavailable, "etcdserver: leader changed";
    /// The member is stopping.
    Stopped: Unavailable, "etcdserver: server stopped";
    /// The request timed out.
    Timeout: Unavailable, "etcdserver: request timed out";
    /// The request timed out, and a new leader was elected meanwhile.
    TimeoutDueToLeaderFail: Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The request timed out, and the leader was unreachable meanwhile.
    TimeoutDueToConnectionLost: Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    /// No leader accepted the request in time.
    // The text of Go's error, which etcd passes on.
    DeadlineExceeded: DeadlineExceeded, "context deadline exceeded";
    /// The CORRUPT alarm is raised.
    Corrupt: DataLoss, "etcdserver: corrupt cluster";
    /// The alarm type does not exist. etcd would raise an alarm of an unknown type.
    UnknownAlarm: InvalidArgument, "etcdserver: unknown alarm type";
    /// The leadership cannot be transferred to the requested member.
    BadLeaderTransferee: FailedPrecondition, "etcdserver: bad leader transferee";
    /// The member does not exist.
    MemberNotFound: NotFound, "etcdserver: member not found";
    /// Another member has the peer URL.
    PeerUrlExist: FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// The peer URLs are missing or invalid.
    MemberBadUrls: InvalidArgument, "etcdserver: given member URLs are invalid";
    /// Too few members have started.
    // etcd declares another code for this error, but sends Unknown.
    MemberNotEnoughStarted: Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    /// A user has no name, or a call has no user.
    UserEmpty: InvalidArgument, "etcdserver: user name is empty";
    /// The user exists already.
    UserAlreadyExist: FailedPrecondition, "etcdserver: user name already exists";
    /// The user does not exist.
    UserNotFound: FailedPrecondition, "etcdserver: user name not found";
    /// A role has no name.
    RoleEmpty: InvalidArgument, "etcdserver: role name is empty";
    /// The role exists already.
    RoleAlreadyExist: FailedPrecondition, "etcdserver: role name already exists";
    /// The role does not exist.
    RoleNotFound: FailedPrecondition, "etcdserver: role name not found";
    /// The user does not have the role.
    RoleNotGranted: FailedPrecondition, "etcdserver: role is not granted to the user";
    /// A grant names no permission.
    PermissionNotGiven: InvalidArgument, "etcdserver: permission not given";
    /// The role does not have the permission.
    PermissionNotGranted: FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// There is no user `root`.
    RootUserNotExist: FailedPrecondition, "etcdserver: root user does not exist";
    /// The user `root` does not have the role `root`.
    RootRoleNotExist: FailedPrecondition, "etcdserver: root user does not have root role";
    /// The user does not exist, or the password is wrong.
    AuthFailed: InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    /// The client does not have the rights.
    PermissionDenied: PermissionDenied, "etcdserver: permission denied";
    /// The token is not valid, or no longer.
    InvalidAuthToken: Unauthenticated, "etcdserver: invalid auth token";
    /// Users or roles have changed since the client has proved its identity.
    AuthOldRevision: InvalidArgument, "etcdserver: revision of auth store is old";
    /// Authentication is off.
    AuthNotEnabled: FailedPrecondition, "etcdserver: authentication is not enabled";
    /// No role can have this permission.
    InvalidAuthMgmt: InvalidArgument, "etcdserver: invalid auth management";
    /// A member of an earlier version cannot apply the command.
    NotCapable: FailedPrecondition, "etcdserver: not capable";
    /// Only a learner can be promoted.
    MemberNotLearner: FailedPrecondition, "etcdserver: can only promote a learner member";
    /// The learner lags behind.
    LearnerNotReady: FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// There are too many learners.
    TooManyLearners: FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// Too few members are connected.
    Unhealthy: Unavailable, "etcdserver: unhealthy cluster";
    /// A learner does not answer this request.
    NotSupportedForLearner: FailedPrecondition, "etcdserver: rpc not supported for learner";
    // etcd declares no code for the following six errors.
    /// The hash of a password is malformed, or a password is given for a user that has none.
    NoPasswordUser: Unknown,
        "auth: authentication failed, password was given for no password user";
    /// The password is too long.
    PasswordTooLong: Unknown, "bcrypt: password length exceeds 72 bytes";
    /// The range of a watcher is empty.
    EmptyWatcherRange: Unknown, "mvcc: watcher range is empty";
    /// Another watcher of the stream has the id.
    DuplicateWatchId: Unknown, "mvcc: duplicate watch ID provided on the WatchStream";
    /// This member no longer leads, so it cannot renew a lease.
    NotPrimaryLessor: Unknown, "not a primary lessor";
    /// The leadership was not transferred in time.
    LeaderTransferTimeout: Unknown, "etcdserver: request timed out, leader transfer took too long";
    // Clients of the Lock and Election services get all errors without a code.
    /// The lease of a claim on a lock has ended.
    SessionExpired: Unknown, "mutex: session is expired";
    /// The caller is not the leader of the election.
    NotElected: Unknown, "election: not leader";
    /// The election has no leader.
    NoElectionLeader: Unknown, "election: no leader";
    /// A leader's request does not contain the leader's key.
    MissingLeaderKey: Unknown, r#""leader" field must be provided"#;
    /// A `RangeStream` asks for an order other than that of the keys.
    StreamOrder: Unimplemented, "RangeStream does not support custom sort orders";
    /// A `RangeStream` asks for keys by their revisions.
    StreamFilters: Unimplemented, "RangeStream does not support revision filters";
    /// The client has stopped waiting.
    // The text of Go's error, which etcd passes on.
    Canceled: Cancelled, "context canceled";
    // The following texts are Quorate's own.
    /// The last change of the members is not the one that the client expects.
    ConfigurationChanged: FailedPrecondition,
        "etcdserver: the configuration of the members is not the expected one";
    /// The expected configuration is not a configuration index.
    BadExpectedConfiguration: InvalidArgument,
        "etcdserver: the expected configuration must be one decimal number";
    /// An answer is larger than a message can be.
    AnswerTooLarge: ResourceExhausted, "etcdserver: the answer exceeds 4 GiB; set a limit";
    /// The member cannot read its own state.
    Unreadable: Internal, "etcdserver: cannot read the store";
    /// The state machine returned a reply that does not fit the request.
    UnexpectedReply: Internal, "etcdserver: unexpected reply";
    /// Snapshots are not sent over the API.
    NoSnapshots: Unimplemented, "etcdserver: this version does not send snapshots";
    /// There is no version to downgrade to.
    NoDowngrade: Unimplemented, "etcdserver: there is no earlier version to downgrade to";
}

impl ApiError {
    /// An error for which etcd declares no code, with the text of its cause.
    pub(crate) fn unknown(cause: impl Display) -> Self {
        Self::Other(Code::Unknown, cause.to_string())
    }

    /// The error as etcd's Lock and Election services send it: with its text, but without its code,
    /// unless the call was cancelled or ran out of time.
    pub(crate) fn without_code(self) -> Self {
        match self.code() {
            Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => self,
            _ => Self::unknown(self.text()),
        }
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
            Refusal::UserEmpty => Self::UserEmpty,
            Refusal::UserExists => Self::UserAlreadyExist,
            Refusal::UserNotFound => Self::UserNotFound,
            Refusal::RoleEmpty => Self::RoleEmpty,
            Refusal::RoleExists => Self::RoleAlreadyExist,
            Refusal::RoleNotFound => Self::RoleNotFound,
            Refusal::RoleNotGranted => Self::RoleNotGranted,
            Refusal::PermissionNotGiven => Self::PermissionNotGiven,
            Refusal::PermissionNotGranted => Self::PermissionNotGranted,
            Refusal::InvalidAuthManagement => Self::InvalidAuthMgmt,
            Refusal::NoPasswordUser => Self::NoPasswordUser,
            Refusal::RootUserNotFound => Self::RootUserNotExist,
            Refusal::RootRoleNotGranted => Self::RootRoleNotExist,
            Refusal::AuthNotEnabled => Self::AuthNotEnabled,
            Refusal::AuthFailed => Self::AuthFailed,
            Refusal::PermissionDenied => Self::PermissionDenied,
            Refusal::AuthOldRevision => Self::AuthOldRevision,
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
            MemberError::ConfigurationChanged => Self::ConfigurationChanged,
            MemberError::CannotLead => Self::BadLeaderTransferee,
            MemberError::NotLeader => Self::NotLeader,
            MemberError::Request(error) => error.into(),
        }
    }
}
