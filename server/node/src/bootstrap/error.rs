//! Why a member cannot found or join its cluster.

use quorate_core::EndReason;
use quorate_storage::data_dir::DataDirError;

use super::discovery::error::DiscoveryError;
use crate::tls::TlsError;

/// The member cannot found or join its cluster as the flags ask for. Each text names the fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("--initial-cluster does not name this member, {name:?} (--name)")]
    Missing { name: String },
    #[error("--initial-cluster: the initial cluster has duplicate url {url}; URLs must be unique")]
    Duplicate { url: String },
    #[error(
        "--initial-cluster gives {name:?} the URLs {given}, but --initial-advertise-peer-urls \
         is {advertised}; make them equal"
    )]
    Mismatch { name: String, given: String, advertised: String },
    #[error("{problem}")]
    Resolve { problem: String },
    #[error(
        "member {member_id:x} has already been bootstrapped: the running cluster knows this member \
         with another data directory and relies on the data there. If that directory is lost, \
         remove the member (etcdctl member remove {member_id:x}), add it again (etcdctl member add \
         {name} --peer-urls={peer_urls}) and start it with --initial-cluster-state=existing"
    )]
    AlreadyBootstrapped { member_id: u64, name: String, peer_urls: String },
    #[error(
        "member {member_id:x} was removed from the cluster, according to {url}, and its id cannot \
         be used again: add the member again (etcdctl member add) and start it with \
         --initial-cluster-state=existing"
    )]
    Removed { member_id: u64, url: String },
    #[error(
        "cluster ID mismatch: {url} belongs to cluster {theirs:x}, but the flags result in \
         {cluster_id:x}; all founders need the same --initial-cluster and --initial-cluster-token, \
         and none of them may have the data directory of another cluster"
    )]
    OtherCluster { url: String, theirs: u64, cluster_id: u64 },
    #[error(
        "--initial-cluster names no other member to ask about the existing cluster; add one, \
         or found a cluster with --initial-cluster-state=new"
    )]
    NoOtherMember,
    #[error(
        "cannot fetch cluster info from peer urls: {url}: {problem}; --initial-cluster must have \
         the peer URLs of running Quorate members"
    )]
    Unreachable { url: String, problem: String },
    #[error(
        "the members of the cluster, according to {url}, are not those of --initial-cluster: \
         {problem}; name all members that etcdctl member list shows, including this one"
    )]
    MembersDiffer { url: String, problem: String },
    #[error("--discovery-endpoints cannot be used to join an existing cluster")]
    DiscoveryOfExisting,
    #[error("cannot find the members in the SRV records of {domain}: {problem}")]
    Srv { domain: String, problem: String },
    #[error("failed to join discovery cluster ({0})")]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl BootstrapError {
    /// The reason for which the process ends after this error.
    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        match self {
            Self::Removed { .. } => Some(EndReason::Removed),
            Self::AlreadyBootstrapped { .. } | Self::OtherCluster { .. } => {
                Some(EndReason::OtherData)
            }
            Self::DataDir(error) => error.end_reason(),
            Self::Missing { .. }
            | Self::Duplicate { .. }
            | Self::Mismatch { .. }
            | Self::Resolve { .. }
            | Self::NoOtherMember
            | Self::Unreachable { .. }
            | Self::MembersDiffer { .. }
            | Self::DiscoveryOfExisting
            | Self::Srv { .. }
            | Self::Discovery(_)
            | Self::Tls(_) => None,
        }
    }
}
