//! Why the discovery service has no cluster for this member.

/// The discovery service has no cluster for this member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DiscoveryError {
    #[error("discovery: size key not found; put the number of founders into {key}")]
    SizeNotFound { key: String },
    #[error("discovery: size key is bad: {key} has {value:?}; put the number of founders into it")]
    BadSize { key: String, value: String },
    #[error(
        "discovery: cluster is full: {size} other members have registered before; a new cluster \
         needs a new token"
    )]
    Full { size: usize },
    #[error("discovery: invalid peer URL: {problem}")]
    InvalidUrl { problem: String },
}
