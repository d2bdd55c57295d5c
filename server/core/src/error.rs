//! The two kinds of failure in the core.
//!
//! A [`Refusal`] is an answer: every member comes to the same one, and the client gets it. A
//! [`Fault`] is not: something under the state machine is broken, and a member that went on would
//! answer wrongly. The types keep them apart; [`Error`] is for reads, which can end in either.

/// A request that the state machine declines, the same on every member.
///
/// The texts are for logs; the API maps each case to etcd's exact code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The revision asked for lies below the compacted revision.
    #[error("the revision has been compacted")]
    Compacted,
    /// The revision asked for has not been reached.
    #[error("the revision lies in the future")]
    FutureRevision,
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("the key does not exist")]
    KeyNotFound,
    /// No lease has this id.
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// A lease with this id exists already.
    #[error("the lease exists already")]
    LeaseExists,
    /// The TTL is above the longest that can be granted.
    #[error("the TTL is too large")]
    LeaseTtlTooLarge,
    /// The NOSPACE alarm is raised.
    #[error("out of space")]
    NoSpace,
    /// The CORRUPT alarm is raised.
    #[error("the cluster is corrupt")]
    Corrupt,
    /// No alarm is of this kind.
    #[error("there is no such kind of alarm")]
    UnknownAlarm,
    /// No member has this id.
    #[error("no member has this id")]
    UnknownMember,
}

/// A failure after which the member must stop: its state can no longer be trusted or advanced.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database under the state machine failed to read.
    #[error("cannot read the database: {0}")]
    Storage(String),
    /// A committed log entry says nothing this version understands.
    #[error("cannot decode log entry {index}: {reason}")]
    Entry {
        /// Index of the log entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The stored state contradicts itself.
    #[error("the stored state is inconsistent: {0}")]
    Inconsistent(String),
}

/// How a read can fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be answered.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The member must stop.
    #[error(transparent)]
    Fault(#[from] Fault),
}
