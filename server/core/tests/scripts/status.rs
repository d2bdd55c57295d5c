//! etcd's code and text for each refusal. In a server, the API adds them.

use quorate_core::Refusal;
use quorate_core::txn::check::Invalid;
use quorate_test_script::{Failure, Status};

fn failure(code: &str, text: &str) -> Failure {
    Failure::Refused(Status { code: code.to_owned(), message: format!("etcdserver: {text}") })
}

/// The answer to a request that the state machine refuses.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let (code, text) = match refusal {
        Refusal::Compacted => ("OutOfRange", "mvcc: required revision has been compacted"),
        Refusal::FutureRevision => ("OutOfRange", "mvcc: required revision is a future revision"),
        Refusal::KeyNotFound => ("InvalidArgument", "key not found"),
        Refusal::LeaseNotFound => ("NotFound", "requested lease not found"),
        Refusal::LeaseExists => ("FailedPrecondition", "lease already exists"),
        Refusal::LeaseTtlTooLarge => ("OutOfRange", "too large lease TTL"),
        Refusal::NoSpace => ("ResourceExhausted", "mvcc: database space exceeded"),
        Refusal::Corrupt => ("DataLoss", "corrupt cluster"),
        Refusal::UnknownAlarm => ("InvalidArgument", "unknown alarm type"),
        Refusal::UnknownMember => ("NotFound", "member not found"),
        Refusal::UserEmpty => ("InvalidArgument", "user name is empty"),
        Refusal::UserExists => ("FailedPrecondition", "user name already exists"),
        Refusal::UserNotFound => ("FailedPrecondition", "user name not found"),
        Refusal::RoleEmpty => ("InvalidArgument", "role name is empty"),
        Refusal::RoleExists => ("FailedPrecondition", "role name already exists"),
        Refusal::RoleNotFound => ("FailedPrecondition", "role name not found"),
        Refusal::RoleNotGranted => ("FailedPrecondition", "role is not granted to the user"),
        Refusal::PermissionNotGiven => ("InvalidArgument", "permission not given"),
        Refusal::PermissionNotGranted => {
            ("FailedPrecondition", "permission is not granted to the role")
        }
        Refusal::InvalidAuthManagement => ("InvalidArgument", "invalid auth management"),
        Refusal::RootUserNotFound => ("FailedPrecondition", "root user does not exist"),
        Refusal::RootRoleNotGranted => ("FailedPrecondition", "root user does not have root role"),
        Refusal::AuthNotEnabled => ("FailedPrecondition", "authentication is not enabled"),
        Refusal::AuthFailed => {
            ("InvalidArgument", "authentication failed, invalid user ID or password")
        }
        Refusal::PermissionDenied => ("PermissionDenied", "permission denied"),
        Refusal::AuthOldRevision => ("InvalidArgument", "revision of auth store is old"),
        Refusal::NoPasswordUser => {
            let text = "auth: authentication failed, password was given for no password user";
            return Failure::Refused(Status {
                code: "Unknown".to_owned(),
                message: text.to_owned(),
            });
        }
    };
    failure(code, text)
}

/// The answer to a request that no state could answer.
pub(crate) fn invalid(invalid: Invalid) -> Failure {
    let text = match invalid {
        Invalid::EmptyKey => "key is not provided",
        Invalid::EmptyOperation => "key not found",
        Invalid::ValueProvided => "value is provided",
        Invalid::LeaseProvided => "lease is provided",
        Invalid::TooManyOperations => "too many operations in txn request",
        Invalid::DuplicateKey => "duplicate key given in txn request",
        Invalid::SortOption => "invalid sort option",
    };
    failure("InvalidArgument", text)
}
