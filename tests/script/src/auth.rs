//! Calls of users and roles.

use anyhow::Result;
use quorate_proto::authpb::{Permission, UserAddOptions, permission};
use quorate_proto::etcdserverpb as pb;

use crate::args::Args;
use crate::print::{Printer, header, quote};
use crate::request::{enumeration, key_and_end};

/// A call of the Auth service.
#[allow(missing_docs, reason = "each is the call of that name")]
#[derive(Clone, Debug)]
pub enum AuthCall {
    Enable(pb::AuthEnableRequest),
    Disable(pb::AuthDisableRequest),
    Status(pb::AuthStatusRequest),
    Authenticate(pb::AuthenticateRequest),
    UserAdd(pb::AuthUserAddRequest),
    UserGet(pb::AuthUserGetRequest),
    UserList(pb::AuthUserListRequest),
    UserDelete(pb::AuthUserDeleteRequest),
    UserChangePassword(pb::AuthUserChangePasswordRequest),
    UserGrantRole(pb::AuthUserGrantRoleRequest),
    UserRevokeRole(pb::AuthUserRevokeRoleRequest),
    RoleAdd(pb::AuthRoleAddRequest),
    RoleGet(pb::AuthRoleGetRequest),
    RoleList(pb::AuthRoleListRequest),
    RoleDelete(pb::AuthRoleDeleteRequest),
    RoleGrantPermission(pb::AuthRoleGrantPermissionRequest),
    RoleRevokePermission(pb::AuthRoleRevokePermissionRequest),
}

/// The answer to any call of the Auth service.
#[derive(Clone, Debug, Default)]
pub struct AuthAnswer {
    /// Its header.
    pub header: Option<pb::ResponseHeader>,
    /// Names of users or roles.
    pub names: Vec<String>,
    /// Permissions of a role.
    pub permissions: Vec<Permission>,
    /// Whether authentication is on, and its revision.
    pub status: Option<(bool, u64)>,
    /// The token of a user.
    pub token: Option<String>,
}

/// Parses a call; `None` if it is of another service.
pub(crate) fn call(name: &str, args: &mut Args) -> Result<Option<AuthCall>> {
    let word = |args: &mut Args| args.word("name");
    Ok(Some(match name {
        "auth-enable" => AuthCall::Enable(pb::AuthEnableRequest {}),
        "auth-disable" => AuthCall::Disable(pb::AuthDisableRequest {}),
        "auth-status" => AuthCall::Status(pb::AuthStatusRequest {}),
        "authenticate" => AuthCall::Authenticate(pb::AuthenticateRequest {
            name: word(args)?,
            password: args.next_word().unwrap_or_default(),
        }),
        "user-add" => {
            let options = args.flag("no_password").then_some(UserAddOptions { no_password: true });
            let hashed_password = args.value("hash").unwrap_or_default();
            let name = word(args)?;
            let password = args.next_word().unwrap_or_default();
            AuthCall::UserAdd(pb::AuthUserAddRequest { name, password, options, hashed_password })
        }
        "user-get" => AuthCall::UserGet(pb::AuthUserGetRequest { name: word(args)? }),
        "user-list" => AuthCall::UserList(pb::AuthUserListRequest {}),
        "user-delete" => AuthCall::UserDelete(pb::AuthUserDeleteRequest { name: word(args)? }),
        "passwd" => {
            let hashed_password = args.value("hash").unwrap_or_default();
            let name = word(args)?;
            let password = args.next_word().unwrap_or_default();
            AuthCall::UserChangePassword(pb::AuthUserChangePasswordRequest {
                name,
                password,
                hashed_password,
            })
        }
        "user-grant" => AuthCall::UserGrantRole(pb::AuthUserGrantRoleRequest {
            user: word(args)?,
            role: word(args)?,
        }),
        "user-revoke" => AuthCall::UserRevokeRole(pb::AuthUserRevokeRoleRequest {
            name: word(args)?,
            role: word(args)?,
        }),
        "role-add" => AuthCall::RoleAdd(pb::AuthRoleAddRequest { name: word(args)? }),
        "role-get" => AuthCall::RoleGet(pb::AuthRoleGetRequest { role: word(args)? }),
        "role-list" => AuthCall::RoleList(pb::AuthRoleListRequest {}),
        "role-delete" => AuthCall::RoleDelete(pb::AuthRoleDeleteRequest { role: word(args)? }),
        "role-grant" => AuthCall::RoleGrantPermission(grant(args)?),
        "role-revoke" => {
            let role = word(args)?;
            let (key, range_end) = key_and_end(args)?;
            let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
            AuthCall::RoleRevokePermission(request)
        }
        _ => return Ok(None),
    }))
}

fn grant(args: &mut Args) -> Result<pb::AuthRoleGrantPermissionRequest> {
    let name = args.word("role")?;
    let Some(kind) = args.next_word() else {
        return Ok(pb::AuthRoleGrantPermissionRequest { name, perm: None });
    };
    let by_name = |name: &str| permission::Type::from_str_name(name).map(Into::into);
    let perm_type = enumeration(&kind, by_name)?;
    let (key, range_end) = key_and_end(args)?;
    let perm = Some(Permission { perm_type, key, range_end });
    Ok(pb::AuthRoleGrantPermissionRequest { name, perm })
}

/// Prints an answer.
pub(crate) fn print(name: &str, answer: &AuthAnswer, out: &mut Printer) {
    let mut line = format!("{name} {}", header(answer.header.as_ref()));
    if let Some((enabled, revision)) = answer.status {
        line += &format!(" enabled={enabled} auth-rev={revision}");
    }
    out.line(0, &line);
    for name in &answer.names {
        out.line(1, &quote(name.as_bytes()));
    }
    for permission in &answer.permissions {
        let kind = match permission::Type::try_from(permission.perm_type) {
            Ok(kind) => kind.as_str_name().to_owned(),
            Err(_) => permission.perm_type.to_string(),
        };
        let [key, end] = [&permission.key, &permission.range_end].map(|bytes| quote(bytes));
        out.line(1, &format!("{kind} {key} {end}"));
    }
}
