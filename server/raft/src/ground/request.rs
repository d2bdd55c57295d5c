//! The reasons for which a request failed.

use std::fmt::Debug;

use quorate_core::Refusal;

use super::consensus::Unavailable;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The state machine refused the command.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// Too many requests are in flight.
    #[error("too many requests are in flight")]
    TooManyRequests,
    /// There is no leader.
    #[error("no leader")]
    NoLeader,
    /// The leader changed; it is unknown whether the request was or will be applied.
    #[error("the leader changed")]
    LeaderChanged,
    /// The request timed out; it is unknown whether it was or will be applied.
    #[error("the request timed out")]
    Timeout,
    /// There has been no leader since the request began: it was not and will not be applied.
    #[error("there was no leader to accept the request")]
    NotTaken,
    /// The request timed out after an election; it is unknown whether it was or will be applied.
    #[error("the request timed out when the leader changed")]
    LeaderFailed,
    /// The request timed out after the leader had been unreachable; it is unknown whether it was or
    /// will be applied.
    #[error("the request timed out while the leader was unreachable")]
    ConnectionLost,
    /// The member is stopping, or the cluster continues without it; it is unknown whether the
    /// request was or will be applied.
    #[error("the member is stopping")]
    Stopped,
}

impl From<Unavailable> for RequestError {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::NotLeader { .. } => Self::NoLeader,
            Unavailable::LeaderChanged => Self::LeaderChanged,
            Unavailable::Stopped => Self::Stopped,
        }
    }
}

/// Why a membership change failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// No member has this id.
    #[error("no member has this id")]
    NotFound,
    /// Another member has one of the peer URLs.
    #[error("another member has this peer URL")]
    UrlExists,
    /// The member is not a learner.
    #[error("the member is not a learner")]
    NotLearner,
    /// The learner's log lags too far behind for a promotion.
    #[error("the learner lags too far behind")]
    LearnerNotReady,
    /// The cluster already has the maximum number of learners.
    #[error("there are too many learners")]
    TooManyLearners,
    /// Too few members that have ever run would be left.
    #[error("too few members have started")]
    NotEnoughStarted,
    /// Too few members are connected.
    #[error("too few members are connected")]
    Unhealthy,
    /// The last change of the members is not the one that the client expects.
    #[error("the configuration of the members is not the expected one")]
    ConfigurationChanged,
    /// The target of the leadership transfer has no vote.
    #[error("the member has no vote, so it cannot lead")]
    CannotLead,
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader,
    /// The request failed for a reason that is not about members.
    #[error(transparent)]
    Request(#[from] RequestError),
}
