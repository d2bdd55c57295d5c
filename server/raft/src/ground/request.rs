//! Why a request got no answer.

use std::fmt::Debug;

use quorate_core::Refusal;

use super::consensus::Unavailable;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The state machine declined.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// Too many requests are under way.
    #[error("too many requests are under way")]
    TooManyRequests,
    /// Nobody leads.
    #[error("no leader")]
    NoLeader,
    /// The leader changed; what became of the request is not known.
    #[error("the leader changed")]
    LeaderChanged,
    /// It took too long; what became of the request is not known.
    #[error("the request timed out")]
    Timeout,
    /// Nobody led all the time: it was not carried out and never will be.
    #[error("nobody led who could have taken the request")]
    NotTaken,
    /// It took too long, and another leader took over; what became of the request is not known.
    #[error("the request timed out when the leader changed")]
    LeaderFailed,
    /// It took too long, and the leader was out of reach; what became of the request is not known.
    #[error("the request timed out while the leader was out of reach")]
    ConnectionLost,
    /// The member is stopping.
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

/// Why the members of the cluster were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// No member has this id.
    #[error("no member has this id")]
    NotFound,
    /// Another member has one of the peer URLs.
    #[error("another member has this peer URL")]
    UrlExists,
    /// The member has a vote already.
    #[error("the member is no learner")]
    NotLearner,
    /// The learner lags too far behind to be given a vote.
    #[error("the learner lags too far behind")]
    LearnerNotReady,
    /// There are as many learners as there may be.
    #[error("there are too many learners")]
    TooManyLearners,
    /// Too few members would be left that have ever run.
    #[error("too few members have started")]
    NotEnoughStarted,
    /// Too few members are connected.
    #[error("too few members are connected")]
    Unhealthy,
    /// The member that leadership is to go to has no vote.
    #[error("the member cannot lead")]
    CannotLead,
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader,
    /// The request got no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}
