//! Users, roles and their permissions, and the commands that change them.
//!
//! The rules are etcd's. The role `root` can be granted although it does not exist. Every change
//! increments the revision, with two exceptions: turning authentication on, and granting a role
//! that the user already has.

mod command;
mod needs;
mod origin;
mod permissions;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use quorate_proto::authpb::Permission;
use quorate_proto::authpb::permission::Type;
use quorate_proto::etcdserverpb as pb;

use crate::Refusal;
use crate::key::KeyRange;
pub use command::{AuthCommand, Authenticate};
pub use needs::{Needs, Right};
pub use origin::Origin;
pub(crate) use origin::OriginMessage;
pub use permissions::Access;

/// The role that permits everything, and the user that must have it while authentication is on.
pub const ROOT: &str = "root";
/// The revision before the first change.
const FIRST_REVISION: u64 = 1;

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
    fn position(&self, key: &[u8], range_end: &[u8]) -> Option<usize> {
        self.permissions.iter().position(|one| one.key == key && one.range_end == range_end)
    }
}

/// All users and roles.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Auth {
    /// Number of changes so far.
    #[prost(uint64, tag = "1")]
    changes: u64,
    /// Users by name.
    #[prost(btree_map = "string, message", tag = "2")]
    users: BTreeMap<String, User>,
    /// Roles by name.
    #[prost(btree_map = "string, message", tag = "3")]
    roles: BTreeMap<String, Role>,
    /// Whether authentication is on.
    #[prost(bool, tag = "4")]
    is_enabled: bool,
    /// Whether authentication has ever been on.
    #[prost(bool, tag = "5")]
    was_enabled: bool,
}

impl Auth {
    /// The revision of users and roles.
    pub fn revision(&self) -> u64 {
        FIRST_REVISION + self.changes
    }

    /// Whether users and roles were never changed.
    pub fn is_unused(&self) -> bool {
        self.changes == 0
    }

    /// Whether authentication is on.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Whether authentication has ever been on.
    pub fn was_enabled(&self) -> bool {
        self.was_enabled
    }

    /// The revision while authentication is on, and 0 while it is off.
    pub fn revision_if_enabled(&self) -> u64 {
        if self.is_enabled { self.revision() } else { 0 }
    }

    /// The hash of a user's password.
    ///
    /// # Errors
    /// Authentication is off, or the user does not exist or has no password.
    pub fn password_of(&self, user: &str) -> Result<&Bytes, Refusal> {
        if !self.is_enabled {
            return Err(Refusal::AuthNotEnabled);
        }
        match self.users.get(user) {
            None => Err(Refusal::AuthFailed),
            Some(User { no_password: true, .. }) => Err(Refusal::NoPasswordUser),
            Some(user) => Ok(&user.hash),
        }
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Decodes the stored form; `None` if it is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }

    /// Users by name.
    pub fn users(&self) -> &BTreeMap<String, User> {
        &self.users
    }

    /// Roles by name.
    pub fn roles(&self) -> &BTreeMap<String, Role> {
        &self.roles
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn roles_of(&self, user: &str) -> Result<&[String], Refusal> {
        Ok(&self.users.get(user).ok_or(Refusal::UserNotFound)?.roles)
    }

    /// The permissions of a role. The role `root`, if it exists, has one for all keys.
    ///
    /// # Errors
    /// The role does not exist.
    pub fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, Refusal> {
        let permissions = &self.roles.get(role).ok_or(Refusal::RoleNotFound)?.permissions;
        if role == ROOT {
            let range_end = Bytes::from_static(b"\0");
            let perm_type = Type::Readwrite as i32;
            return Ok(vec![Permission { perm_type, key: Bytes::new(), range_end }]);
        }
        Ok(permissions.clone())
    }

    /// Applies a command.
    ///
    /// # Errors
    /// The command is refused, and nothing is changed.
    pub(crate) fn apply(&mut self, command: &AuthCommand) -> Result<(), Refusal> {
        let is_changed = match command {
            AuthCommand::Enable(_) => self.enable(),
            AuthCommand::Disable(_) => Ok(std::mem::take(&mut self.is_enabled)),
            AuthCommand::UserAdd(add) => self.add_user(add),
            AuthCommand::UserDelete(delete) => self.delete_user(&delete.name),
            AuthCommand::UserChangePassword(change) => self.change_password(change),
            AuthCommand::UserGrantRole(grant) => self.grant_role(&grant.user, &grant.role),
            AuthCommand::UserRevokeRole(revoke) => self.revoke_role(&revoke.name, &revoke.role),
            AuthCommand::RoleAdd(add) => self.add_role(&add.name),
            AuthCommand::RoleDelete(delete) => self.delete_role(&delete.role),
            AuthCommand::RoleGrantPermission(grant) => self.grant_permission(grant),
            AuthCommand::RoleRevokePermission(revoke) => self.revoke_permission(revoke),
        }?;
        self.changes += u64::from(is_changed);
        Ok(())
    }

    fn user(&mut self, name: &str) -> Result<&mut User, Refusal> {
        self.users.get_mut(name).ok_or(Refusal::UserNotFound)
    }

    fn role(&mut self, name: &str) -> Result<&mut Role, Refusal> {
        self.roles.get_mut(name).ok_or(Refusal::RoleNotFound)
    }

    fn enable(&mut self) -> Result<bool, Refusal> {
        if !self.users.contains_key(ROOT) {
            return Err(Refusal::RootUserNotFound);
        }
        if !self.is_root(ROOT) {
            return Err(Refusal::RootRoleNotGranted);
        }
        (self.is_enabled, self.was_enabled) = (true, true);
        Ok(false)
    }

    /// Refuses to remove the user `root` or its role (`is_needed`) while authentication is on:
    /// without them, no user could manage users.
    fn protect(&self, is_needed: bool) -> Result<(), Refusal> {
        if self.is_enabled && is_needed { Err(Refusal::InvalidAuthManagement) } else { Ok(()) }
    }

    fn add_user(&mut self, add: &pb::AuthUserAddRequest) -> Result<bool, Refusal> {
        if add.name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        if self.users.contains_key(&add.name) {
            return Err(Refusal::UserExists);
        }
        let no_password = add.options.is_some_and(|options| options.no_password);
        let hash = if no_password { Bytes::new() } else { decode_hash(&add.hashed_password)? };
        let user = User { hash, no_password, roles: Vec::new() };
        self.users.insert(add.name.clone(), user);
        Ok(true)
    }

    fn delete_user(&mut self, name: &str) -> Result<bool, Refusal> {
        self.protect(name == ROOT)?;
        self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        Ok(true)
    }

    fn change_password(
        &mut self,
        change: &pb::AuthUserChangePasswordRequest,
    ) -> Result<bool, Refusal> {
        let user = self.user(&change.name)?;
        if !user.no_password {
            user.hash = decode_hash(&change.hashed_password)?;
        }
        Ok(true)
    }

    fn grant_role(&mut self, user: &str, role: &str) -> Result<bool, Refusal> {
        let is_role = role == ROOT || self.roles.contains_key(role);
        let user = self.user(user)?;
        if !is_role {
            return Err(Refusal::RoleNotFound);
        }
        match user.roles.binary_search_by(|held| held.as_str().cmp(role)) {
            Ok(_) => Ok(false),
            Err(at) => {
                user.roles.insert(at, role.to_owned());
                Ok(true)
            }
        }
    }

    fn revoke_role(&mut self, user: &str, role: &str) -> Result<bool, Refusal> {
        self.protect(user == ROOT && role == ROOT)?;
        let user = self.user(user)?;
        let at = user.roles.iter().position(|held| held == role);
        user.roles.remove(at.ok_or(Refusal::RoleNotGranted)?);
        Ok(true)
    }

    fn add_role(&mut self, name: &str) -> Result<bool, Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Refusal::RoleExists);
        }
        self.roles.insert(name.to_owned(), Role::default());
        Ok(true)
    }

    fn delete_role(&mut self, name: &str) -> Result<bool, Refusal> {
        self.protect(name == ROOT)?;
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.retain(|held| held != name);
        }
        Ok(true)
    }

    fn grant_permission(
        &mut self,
        grant: &pb::AuthRoleGrantPermissionRequest,
    ) -> Result<bool, Refusal> {
        let permission = grant.perm.as_ref().ok_or(Refusal::PermissionNotGiven)?;
        let range = KeyRange::from_wire(permission.key.clone(), permission.range_end.clone());
        if permission.key.is_empty() || range.is_empty() {
            return Err(Refusal::InvalidAuthManagement);
        }
        let role = self.role(&grant.name)?;
        if let Some(at) = role.position(&permission.key, &permission.range_end) {
            role.permissions[at].perm_type = permission.perm_type;
        } else {
            let at = role.permissions.partition_point(|one| one.key <= permission.key);
            role.permissions.insert(at, permission.clone());
        }
        Ok(true)
    }

    fn revoke_permission(
        &mut self,
        revoke: &pb::AuthRoleRevokePermissionRequest,
    ) -> Result<bool, Refusal> {
        let role = self.role(&revoke.role)?;
        let at = role.position(&revoke.key, &revoke.range_end);
        role.permissions.remove(at.ok_or(Refusal::PermissionNotGranted)?);
        Ok(true)
    }
}

/// Decodes the hash of a password, which requests have in base64.
fn decode_hash(hash: &str) -> Result<Bytes, Refusal> {
    STANDARD.decode(hash).map(Bytes::from).map_err(|_| Refusal::NoPasswordUser)
}
