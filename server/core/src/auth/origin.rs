//! The author of a command.

use std::sync::Arc;

use prost::Message;

/// The author of a command: the client or the cluster that it is proposed for. While
/// authentication is on, the state machine checks the rights of the author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A client that did not prove its name, or the cluster while authentication was off.
    #[default]
    Unknown,
    /// The cluster itself, which may do everything.
    Cluster,
    /// A user.
    User {
        /// Name of the user.
        name: Arc<str>,
        /// The revision of users and roles at which the user's rights were checked.
        revision: u64,
    },
}

/// The encoded form of an origin, in an entry of the log.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct OriginMessage {
    #[prost(bool, tag = "1")]
    is_cluster: bool,
    /// The name of the user; absent for the cluster, and for an unknown author.
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
                Self { is_cluster: false, user: Some(name.to_string()), revision: *revision }
            }
        }
    }
}

impl From<OriginMessage> for Origin {
    fn from(message: OriginMessage) -> Self {
        match message {
            OriginMessage { user: Some(name), revision, .. } => {
                Self::User { name: name.into(), revision }
            }
            OriginMessage { is_cluster: true, .. } => Self::Cluster,
            OriginMessage { .. } => Self::Unknown,
        }
    }
}
