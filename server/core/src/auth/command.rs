//! The commands that change users and roles, and the command that gives a token.

use bytes::{BufMut, Bytes};
use prost::{DecodeError, Message};
use quorate_proto::etcdserverpb as pb;

use crate::command::CommandKind;

/// Makes the commands from a table. Each row has a variant, its message and its kind.
macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident: $message:ident, $kind:ident;)*) => {
        /// A change of users and roles. The messages are etcd's requests, with the hash of a
        /// password in place of the password.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AuthCommand {
            $($(#[$doc])* $name(pb::$message),)*
        }

        impl AuthCommand {
            /// The kind of the command.
            pub fn kind(&self) -> CommandKind {
                match self {
                    $(Self::$name(_) => CommandKind::$kind,)*
                }
            }

            /// The length of the encoded message, in bytes.
            pub fn encoded_len(&self) -> usize {
                match self {
                    $(Self::$name(message) => message.encoded_len(),)*
                }
            }

            /// Encodes the message at the end of `out`.
            pub(crate) fn encode(&self, out: &mut impl BufMut) {
                let encoded = match self {
                    $(Self::$name(message) => message.encode(out),)*
                };
                encoded.expect("the buffer grows");
            }

            /// Decodes the message of a command; `None` if the kind is not of a change of users
            /// and roles.
            pub(crate) fn decode(
                kind: CommandKind,
                message: Bytes,
            ) -> Option<Result<Self, DecodeError>> {
                Some(match kind {
                    $(CommandKind::$kind => pb::$message::decode(message).map(Self::$name),)*
                    _ => return None,
                })
            }
        }
    };
}

/// Gives a token to a user. The proposer has checked the password before.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Authenticate {
    /// Name of the user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The random beginning of the token.
    #[prost(string, tag = "2")]
    pub prefix: String,
    /// The revision of users and roles at which the password was checked.
    #[prost(uint64, tag = "3")]
    pub revision: u64,
}

commands! {
    /// Turns authentication on.
    Enable: AuthEnableRequest, AuthEnable;
    /// Turns authentication off.
    Disable: AuthDisableRequest, AuthDisable;
    /// Adds a user.
    UserAdd: AuthUserAddRequest, AuthUserAdd;
    /// Deletes a user.
    UserDelete: AuthUserDeleteRequest, AuthUserDelete;
    /// Changes a user's password.
    UserChangePassword: AuthUserChangePasswordRequest, AuthUserChangePassword;
    /// Grants a role to a user.
    UserGrantRole: AuthUserGrantRoleRequest, AuthUserGrantRole;
    /// Revokes a role from a user.
    UserRevokeRole: AuthUserRevokeRoleRequest, AuthUserRevokeRole;
    /// Adds a role without permissions.
    RoleAdd: AuthRoleAddRequest, AuthRoleAdd;
    /// Deletes a role, and revokes it from all users.
    RoleDelete: AuthRoleDeleteRequest, AuthRoleDelete;
    /// Grants a permission to a role, or changes its type.
    RoleGrantPermission: AuthRoleGrantPermissionRequest, AuthRoleGrantPermission;
    /// Revokes a permission from a role.
    RoleRevokePermission: AuthRoleRevokePermissionRequest, AuthRoleRevokePermission;
}
