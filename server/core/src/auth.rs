//! Users, roles and their permissions, and the commands that change them.
//!
//! The rules are etcd's. The role `root` can be granted although it does not exist. Every command
//! that is not refused increments the revision, with three exceptions: turning authentication on,
//! turning it off while it is off, and granting a role that the user already has.

mod command;
mod needs;
mod origin;
mod permissions;
mod record;
mod rights;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quorate_proto::authpb::Permission;
use quorate_proto::authpb::permission::Type;

use crate::Refusal;
use crate::key::KeyRange;
pub use command::{AuthCommand, Authenticate};
pub use needs::{Needs, Right};
pub use origin::Origin;
pub(crate) use origin::OriginMessage;
pub use permissions::Access;
pub use record::{ROOT, Role, User};
use rights::{Rights, RightsCache};
use state::State;

/// The revision before the first change.
const FIRST_REVISION: u64 = 1;

/// All users and roles.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    state: State,
    /// Derived from the state.
    rights: RightsCache,
}

impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        self.state == other.state
    }
}

impl Eq for Auth {}

impl Auth {
    /// The revision of users and roles.
    pub fn revision(&self) -> u64 {
        FIRST_REVISION + self.state.changes
    }

    /// Whether users and roles were never changed.
    pub fn is_unused(&self) -> bool {
        self.state.changes == 0
    }

    /// Whether authentication is on.
    pub fn is_enabled(&self) -> bool {
        self.state.is_enabled
    }

    /// Whether authentication has ever been on.
    pub fn was_enabled(&self) -> bool {
        self.state.was_enabled
    }

    /// The revision while authentication is on, and 0 while it is off.
    pub fn revision_if_enabled(&self) -> u64 {
        if self.state.is_enabled { self.revision() } else { 0 }
    }

    /// The hash of a user's password.
    ///
    /// # Errors
    /// Authentication is off, or the user does not exist or has no password.
    pub fn password_of(&self, user: &str) -> Result<&Bytes, Refusal> {
        if !self.state.is_enabled {
            return Err(Refusal::AuthNotEnabled);
        }
        match self.state.users.get(user) {
            None => Err(Refusal::AuthFailed),
            Some(User { no_password: true, .. }) => Err(Refusal::NoPasswordUser),
            Some(user) => Ok(&user.hash),
        }
    }

    /// The stored form.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.state.encode_to_vec()
    }

    /// Decodes the stored form; `None` if it is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let state = State::decode(bytes).ok()?;
        Some(Self { state, rights: RightsCache::default() })
    }

    /// Users by name.
    pub fn users(&self) -> &BTreeMap<String, User> {
        &self.state.users
    }

    /// Roles by name.
    pub fn roles(&self) -> &BTreeMap<String, Role> {
        &self.state.roles
    }

    /// The roles of a user.
    ///
    /// # Errors
    /// The user does not exist.
    pub fn roles_of(&self, user: &str) -> Result<&[String], Refusal> {
        Ok(&self.state.users.get(user).ok_or(Refusal::UserNotFound)?.roles)
    }

    /// The permissions of a role. The role `root`, if it exists, has one for all keys.
    ///
    /// # Errors
    /// The role does not exist.
    pub fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, Refusal> {
        let permissions = &self.state.roles.get(role).ok_or(Refusal::RoleNotFound)?.permissions;
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
        self.state.apply(command)?;
        self.rights = RightsCache::default();
        Ok(())
    }

    /// Whether a user has the role `root`, which permits everything.
    pub fn is_root(&self, user: &str) -> bool {
        self.state.is_root(user)
    }

    /// Whether a user may access all keys in `range`: the permissions of all roles of the user
    /// together must cover it. False for a user that does not exist.
    pub fn permits(&self, user: &str, access: Access, range: &KeyRange) -> bool {
        self.rights_of(user).is_some_and(|rights| rights.permit(access, range))
    }

    /// The rights of a user; `None` if the user does not exist.
    fn rights_of(&self, user: &str) -> Option<Arc<Rights>> {
        self.rights.find(user, || self.state.rights_of(user))
    }
}
