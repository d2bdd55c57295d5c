//! How a member gets into its cluster.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::ground::member::Peer;

/// How a member gets into its cluster. Only [`StartMode::ForceNewCluster`] has an effect after the
/// first start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// It founds the cluster with these members, which are all started with the same list.
    NewCluster(BTreeMap<u64, Peer>),
    /// It was added to an existing cluster and waits for a call from the leader. Other members may
    /// be at these peer URLs.
    Join(Vec<String>),
    /// It becomes the only member, although the data directory may name others. The strings are its
    /// peer URLs, used if the data directory contains none.
    ForceNewCluster(Vec<String>),
}

impl StartMode {
    /// The members of a new cluster.
    pub(super) fn founders(self) -> Option<BTreeMap<u64, Peer>> {
        match self {
            Self::NewCluster(founders) => Some(founders),
            Self::Join(_) | Self::ForceNewCluster(_) => None,
        }
    }
}
