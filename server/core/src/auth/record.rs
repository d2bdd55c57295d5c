//! A user and a role, as they are stored.

use bytes::Bytes;
use prost::Message;
use quorate_proto::authpb::Permission;

/// The role that permits everything, and the user that must have it while authentication is on.
pub const ROOT: &str = "root";

/// A user.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct User {
    /// The bcrypt hash of the password; empty for a user without one.
    #[prost(bytes = "bytes", tag = "1")]
    pub hash: Bytes,
    /// Whether the user has no password, and proves its name by a certificate only.
    #[prost(bool, tag = "2")]
    pub no_password: bool,
    /// Names of the user's roles, ascending.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
}

impl std::fmt::Debug for User {
    /// Does not show the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { hash: _, no_password, roles } = self;
        let mut shown = f.debug_struct("User");
        shown.field("no_password", no_password).field("roles", roles).finish_non_exhaustive()
    }
}

/// A role.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Role {
    /// The permissions, ascending by key. No two of them have the same key and range end.
    #[prost(message, repeated, tag = "1")]
    pub permissions: Vec<Permission>,
}

impl Role {
    /// The place of the permission for a key and a range end.
    pub(super) fn position(&self, key: &[u8], range_end: &[u8]) -> Option<usize> {
        self.permissions.iter().position(|one| one.key == key && one.range_end == range_end)
    }
}
