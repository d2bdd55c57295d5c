//! The users and roles as they are stored, and the changes of them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;

use super::command::AuthCommand;
use super::record::{ROOT, Role, User};
use crate::Refusal;
use crate::key::KeyRange;

/// All users and roles, in the stored form.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct State {
    /// Number of changes so far.
    #[prost(uint64, tag = "1")]
    pub(super) changes: u64,
    /// Users by name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub(super) users: BTreeMap<String, User>,
    /// Roles by name.
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) roles: BTreeMap<String, Role>,
    /// Whether authentication is on.
    #[prost(bool, tag = "4")]
    pub(super) is_enabled: bool,
    /// Whether authentication has ever been on.
    #[prost(bool, tag = "5")]
    pub(super) was_enabled: bool,
}

impl State {
    /// Whether a user has the role `root`.
    pub(super) fn is_root(&self, user: &str) -> bool {
        self.users.get(user).is_some_and(|user| user.roles.iter().any(|role| role == ROOT))
    }

    /// Applies a command.
    ///
    /// # Errors
    /// The command is refused, and nothing is changed.
    pub(super) fn apply(&mut self, command: &AuthCommand) -> Result<(), Refusal> {
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
