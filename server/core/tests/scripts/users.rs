//! The calls of users and roles, as the API answers them while authentication is off.

use quorate_core::auth::{Auth, AuthCommand};
use quorate_core::store::Shared;
use quorate_core::{Command, Refusal};
use quorate_test_script::{Answer, AuthAnswer, AuthCall, Failure, Status};

use crate::status::refused;

/// A call as a change or as a read.
pub(crate) enum Call {
    Change(Command),
    Read(AuthCall),
}

impl From<AuthCall> for Call {
    fn from(call: AuthCall) -> Self {
        Self::Change(Command::Auth(match call {
            // The API replaces a password by its hash; the empty one stands for any here.
            AuthCall::UserAdd(mut add) => {
                add.password.clear();
                if add.options.is_none() {
                    add.hashed_password.clear();
                }
                AuthCommand::UserAdd(add)
            }
            AuthCall::UserChangePassword(mut change) => {
                if !std::mem::take(&mut change.password).is_empty() {
                    change.hashed_password.clear();
                }
                AuthCommand::UserChangePassword(change)
            }
            AuthCall::Enable(enable) => AuthCommand::Enable(enable),
            AuthCall::Disable(disable) => AuthCommand::Disable(disable),
            AuthCall::UserDelete(delete) => AuthCommand::UserDelete(delete),
            AuthCall::UserGrantRole(grant) => AuthCommand::UserGrantRole(grant),
            AuthCall::UserRevokeRole(revoke) => AuthCommand::UserRevokeRole(revoke),
            AuthCall::RoleAdd(add) => AuthCommand::RoleAdd(add),
            AuthCall::RoleDelete(delete) => AuthCommand::RoleDelete(delete),
            AuthCall::RoleGrantPermission(grant) => AuthCommand::RoleGrantPermission(grant),
            AuthCall::RoleRevokePermission(revoke) => AuthCommand::RoleRevokePermission(revoke),
            call => return Self::Read(call),
        }))
    }
}

/// Answers a call that changes nothing.
pub(crate) fn read(shared: &Shared, call: &AuthCall) -> Answer<AuthAnswer> {
    if matches!(call, AuthCall::Authenticate(_)) {
        let message = "etcdserver: authentication is not enabled".to_owned();
        return Err(Failure::Refused(Status { code: "FailedPrecondition".to_owned(), message }));
    }
    shared.tables(|tables| look_up(&tables.auth, call)).map_err(refused)
}

fn look_up(auth: &Auth, call: &AuthCall) -> Result<AuthAnswer, Refusal> {
    let mut answer = AuthAnswer::default();
    match call {
        AuthCall::Status(_) => answer.status = Some((auth.is_enabled(), auth.revision())),
        AuthCall::UserGet(get) => answer.names = auth.roles_of(&get.name)?.to_vec(),
        AuthCall::UserList(_) => answer.names = auth.users().keys().cloned().collect(),
        AuthCall::RoleGet(get) => answer.permissions = auth.permissions_of(&get.role)?,
        AuthCall::RoleList(_) => answer.names = auth.roles().keys().cloned().collect(),
        _ => {}
    }
    Ok(answer)
}
