//! The numbers of commands, and the versions of their payloads.

/// The first version of payloads.
pub(super) const FORMAT: u8 = 1;
/// The newest version: that of the payloads with an origin, which comes before the message.
/// Versions of Quorate that do not check permissions must not apply such payloads.
pub const AUTH_FORMAT: u8 = 3;
/// Version of the payloads that change users and roles. The layout is that of the first version,
/// but versions of Quorate without users must not apply such payloads.
pub const USERS_FORMAT: u8 = 2;

/// Numbers of the commands in the log. A number is never reused.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// [`Command::Put`](crate::Command::Put).
    Put = 1,
    /// [`Command::DeleteRange`](crate::Command::DeleteRange).
    DeleteRange = 2,
    /// [`Command::Txn`](crate::Command::Txn).
    Txn = 3,
    /// [`Command::Compact`](crate::Command::Compact).
    Compact = 4,
    /// [`Command::LeaseGrant`](crate::Command::LeaseGrant).
    LeaseGrant = 5,
    /// [`Command::LeaseRevoke`](crate::Command::LeaseRevoke).
    LeaseRevoke = 6,
    /// [`Command::LeaseExpire`](crate::Command::LeaseExpire).
    LeaseExpire = 7,
    /// [`Command::Alarm`](crate::Command::Alarm).
    Alarm = 8,
    /// [`Command::MemberPublish`](crate::Command::MemberPublish).
    MemberPublish = 9,
    /// [`AuthCommand::UserAdd`](crate::auth::AuthCommand::UserAdd).
    AuthUserAdd = 10,
    /// [`AuthCommand::UserDelete`](crate::auth::AuthCommand::UserDelete).
    AuthUserDelete = 11,
    /// [`AuthCommand::UserChangePassword`](crate::auth::AuthCommand::UserChangePassword).
    AuthUserChangePassword = 12,
    /// [`AuthCommand::UserGrantRole`](crate::auth::AuthCommand::UserGrantRole).
    AuthUserGrantRole = 13,
    /// [`AuthCommand::UserRevokeRole`](crate::auth::AuthCommand::UserRevokeRole).
    AuthUserRevokeRole = 14,
    /// [`AuthCommand::RoleAdd`](crate::auth::AuthCommand::RoleAdd).
    AuthRoleAdd = 15,
    /// [`AuthCommand::RoleDelete`](crate::auth::AuthCommand::RoleDelete).
    AuthRoleDelete = 16,
    /// [`AuthCommand::RoleGrantPermission`](crate::auth::AuthCommand::RoleGrantPermission).
    AuthRoleGrantPermission = 17,
    /// [`AuthCommand::RoleRevokePermission`](crate::auth::AuthCommand::RoleRevokePermission).
    AuthRoleRevokePermission = 18,
    /// [`AuthCommand::Enable`](crate::auth::AuthCommand::Enable).
    AuthEnable = 19,
    /// [`AuthCommand::Disable`](crate::auth::AuthCommand::Disable).
    AuthDisable = 20,
    /// [`Command::Authenticate`](crate::Command::Authenticate).
    Authenticate = 21,
}

impl CommandKind {
    /// Every kind, ascending by number.
    pub const ALL: [Self; 21] = [
        Self::Put,
        Self::DeleteRange,
        Self::Txn,
        Self::Compact,
        Self::LeaseGrant,
        Self::LeaseRevoke,
        Self::LeaseExpire,
        Self::Alarm,
        Self::MemberPublish,
        Self::AuthUserAdd,
        Self::AuthUserDelete,
        Self::AuthUserChangePassword,
        Self::AuthUserGrantRole,
        Self::AuthUserRevokeRole,
        Self::AuthRoleAdd,
        Self::AuthRoleDelete,
        Self::AuthRoleGrantPermission,
        Self::AuthRoleRevokePermission,
        Self::AuthEnable,
        Self::AuthDisable,
        Self::Authenticate,
    ];

    /// The version of the payloads of this kind without an origin. Payloads with an origin have
    /// version [`AUTH_FORMAT`].
    pub(super) fn format(self) -> u8 {
        match self as u8 {
            kind if kind < Self::AuthUserAdd as u8 => FORMAT,
            kind if kind < Self::AuthEnable as u8 => USERS_FORMAT,
            _ => AUTH_FORMAT,
        }
    }

    /// The kind of the command in a payload; `None` if the payload does not begin with a known
    /// format and kind.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let [format, kind, ..] = payload else { return None };
        let known = Self::ALL.into_iter().find(|known| *known as u8 == *kind)?;
        [known.format(), AUTH_FORMAT].contains(format).then_some(known)
    }

    /// The name of the kind in metrics: etcd's name of the request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "Put",
            Self::DeleteRange => "DeleteRange",
            Self::Txn => "Txn",
            Self::Compact => "Compaction",
            Self::LeaseGrant => "LeaseGrant",
            Self::LeaseRevoke | Self::LeaseExpire => "LeaseRevoke",
            Self::Alarm => "Alarm",
            Self::MemberPublish => "ClusterMemberAttrSet",
            Self::AuthUserAdd => "AuthUserAdd",
            Self::AuthUserDelete => "AuthUserDelete",
            Self::AuthUserChangePassword => "AuthUserChangePassword",
            Self::AuthUserGrantRole => "AuthUserGrantRole",
            Self::AuthUserRevokeRole => "AuthUserRevokeRole",
            Self::AuthRoleAdd => "AuthRoleAdd",
            Self::AuthRoleDelete => "AuthRoleDelete",
            Self::AuthRoleGrantPermission => "AuthRoleGrantPermission",
            Self::AuthRoleRevokePermission => "AuthRoleRevokePermission",
            Self::AuthEnable => "AuthEnable",
            Self::AuthDisable => "AuthDisable",
            Self::Authenticate => "Authenticate",
        }
    }
}
