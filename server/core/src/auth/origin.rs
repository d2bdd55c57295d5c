//! On whose behalf a command is proposed.

use prost::Message;

/// On whose behalf a command is proposed. While authentication is on, the state machine checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client that was not asked who it is, because authentication was off; or the cluster.
    #[default]
    Unknown,
    /// The cluster itself, which may do everything.
    Cluster,
    /// A user.
    User {
        /// Name of the user.
        name: String,
        /// The revision of users and roles at which the user's rights were checked.
        revision: u64,
    },
}

/// The form of an origin in a payload.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OriginMessage {
    #[prost(bool, tag = "1")]
    is_cluster: bool,
    /// Absent for the cluster, and for an unknown client.
    #[prost(string, optional, tag = "2")]
    user: Option<String>,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

impl From<&Origin> for OriginMessage {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::Unknown => Self::default(),
            Origin::Cluster => Self { is_cluster: true, ..Self::default() },
            Origin::User { name, revision } => {
                Self { is_cluster: false, user: Some(name.clone()), revision: *revision }
            }
        }
    }
}

impl From<OriginMessage> for Origin {
    fn from(message: OriginMessage) -> Self {
        match message {
            OriginMessage { user: Some(name), revision, .. } => Self::User { name, revision },
            OriginMessage { is_cluster: true, .. } => Self::Cluster,
            OriginMessage { .. } => Self::Unknown,
        }
    }
}
