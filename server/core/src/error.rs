//! The two kinds of failure in the core.
//!
//! A [`Refusal`] is an answer: it is the same on every member, and the client gets it. A [`Fault`]
//! means that something under the state machine is broken: a member that continued would answer
//! wrongly. The types keep them apart; [`Error`] is for reads, which can end in either.

use std::sync::Arc;

use crate::command::DecodeError;

/// Why the state machine refuses a request. The refusal is the same on every member.
///
/// The texts are for logs; the API maps each case to etcd's exact code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The requested revision is below the compacted revision.
    #[error("the revision has been compacted")]
    Compacted,
    /// The requested revision is above the current revision.
    #[error("the revision lies in the future")]
    FutureRevision,
    /// The put has `ignore_value` or `ignore_lease`, and its key does not exist.
    #[error("the key does not exist")]
    KeyNotFound,
    /// No lease has this id.
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// A lease with this id exists already.
    #[error("the lease exists already")]
    LeaseExists,
    /// The TTL is above [`LEASE_TTL_SECONDS_MAX`](crate::limits::LEASE_TTL_SECONDS_MAX).
    #[error("the TTL is too large")]
    LeaseTtlTooLarge,
    /// The NOSPACE alarm is raised.
    #[error("out of space")]
    NoSpace,
    /// The CORRUPT alarm is raised.
    #[error("the cluster is corrupt")]
    Corrupt,
    /// The alarm's type is unknown.
    #[error("the type of alarm is unknown")]
    UnknownAlarm,
    /// No member has this id.
    #[error("no member has this id")]
    UnknownMember,
    /// A user has no name.
    #[error("the user's name is empty")]
    UserEmpty,
    /// A user with this name exists already.
    #[error("the user exists already")]
    UserExists,
    /// No user has this name.
    #[error("the user does not exist")]
    UserNotFound,
    /// A role has no name.
    #[error("the role's name is empty")]
    RoleEmpty,
    /// A role with this name exists already.
    #[error("the role exists already")]
    RoleExists,
    /// No role has this name.
    #[error("the role does not exist")]
    RoleNotFound,
    /// The user does not have the role.
    #[error("the user does not have the role")]
    RoleNotGranted,
    /// A grant names no permission.
    #[error("no permission is given")]
    PermissionNotGiven,
    /// The role does not have the permission.
    #[error("the role does not have the permission")]
    PermissionNotGranted,
    /// No role can have this permission.
    #[error("no role can have this permission")]
    InvalidAuthManagement,
    /// The hash of a password is malformed, or a password is given for a user that has none.
    #[error("a password is given for a user that has none")]
    NoPasswordUser,
    /// Authentication cannot be turned on, because there is no user `root`.
    #[error("there is no user root")]
    RootUserNotFound,
    /// Authentication cannot be turned on, because the user `root` does not have the role `root`.
    #[error("the user root does not have the role root")]
    RootRoleNotGranted,
    /// Authentication is off.
    #[error("authentication is off")]
    AuthNotEnabled,
    /// The user does not exist, or the password is wrong.
    #[error("the user does not exist, or the password is wrong")]
    AuthFailed,
    /// The user does not have the right.
    #[error("the user does not have the right")]
    PermissionDenied,
    /// Users or roles have changed since the user's rights were checked.
    #[error("users or roles have changed since the rights were checked")]
    AuthOldRevision,
}

/// A failure after which the member must stop: its state can no longer be trusted or advanced.
///
/// Clones share the cause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The database under the state machine failed to read.
    #[error("cannot read the database: {0}")]
    Storage(Arc<dyn std::error::Error + Send + Sync>),
    /// This version of Quorate cannot decode a committed log entry.
    #[error("cannot decode log entry {index}: {reason}")]
    Entry {
        /// Index of the log entry.
        index: u64,
        /// Why decoding failed.
        reason: DecodeError,
    },
    /// The stored state contradicts itself.
    #[error("the stored state is inconsistent: {0}")]
    Inconsistent(String),
}

impl Fault {
    /// The fault for an error of the database.
    pub fn storage(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state machine refuses the request.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The member must stop.
    #[error(transparent)]
    Fault(#[from] Fault),
}
