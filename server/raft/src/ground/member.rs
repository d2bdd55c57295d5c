//! The members of a cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// What the raft membership knows of a member beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Whether it is to have no vote. A member without a vote of which this is not said gets one
    /// as soon as its log is close to the leader's.
    pub is_learner: bool,
}

/// The members in the raft membership, and whether each is without a vote.
pub(crate) type Peers = BTreeMap<u64, (Peer, bool)>;

/// A member of the cluster as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has run.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; none until it has run.
    pub client_urls: Vec<String>,
    /// Whether it has no vote.
    pub is_learner: bool,
}
