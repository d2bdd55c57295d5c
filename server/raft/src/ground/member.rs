//! The members of a cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A member's node data in the raft membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Whether it is a learner in etcd's sense. A member that is no learner but has no vote yet
    /// gets one as soon as its log is close to the leader's.
    pub is_learner: bool,
}

/// The members in the raft membership by id; the flag is true for a member without a vote.
pub(crate) type Peers = BTreeMap<u64, (Peer, bool)>;

/// The members of the cluster at a position of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// Log index of the entry that set these members. It is the same on every member. `None` before
    /// this member has applied such an entry.
    pub(crate) index: Option<u64>,
    pub(crate) peers: Peers,
}

/// The members of the cluster, as listed to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberListing {
    /// The configuration index: the log index of the last change of the members. It rises with
    /// every change, and is the same on every member. `None` before this member knows the members.
    pub configuration: Option<u64>,
    /// The members, by ascending id.
    pub members: Vec<MemberInfo>,
}

/// A member of the cluster, as listed to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: u64,
    /// Its name; empty until the member has run.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Its client URLs; none until the member has run.
    pub client_urls: Vec<String>,
    /// Whether it is a learner.
    pub is_learner: bool,
}
