//! Bootstrap: determines the identity of this member and its cluster. A data directory that was
//! used before contains the identity; otherwise it comes from the flags.
//!
//! ```text
//!   data directory used before? --yes--> read the identity from it
//!        | no
//!   cluster exists? --yes--> ask its members for this member's id
//!        | no
//!   found it with the members in the flags, in the DNS, or at a discovery service
//! ```
//!
//! A member that lost its data directory must not come back under its old id: it may have voted,
//! and entries in its log may count as committed. Ids are computed from the flags, so the member
//! would take its old id again. Therefore it asks the other members first, and they remember the
//! id.

mod ask;
mod founders;
mod registry;
mod resolve;
mod srv;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_raft::{Dial, Origin, Peer};
use quorate_storage::data_dir::{
    DataDir, DataDirError, Founders, Identity, generation, incarnation,
};

use crate::config::url::Url;
use crate::config::{Founding, Source};
use crate::tls::TlsError;
use founders::{ByName, cluster_id, founder_id};
use registry::RegistryError;

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
    AlreadyRan { member_id: u64, name: String, peer_urls: String },
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
    NobodyToAsk,
    #[error(
        "cannot fetch cluster info from peer urls: {url}: {problem}; --initial-cluster must have \
         the peer URLs of running Quorate members"
    )]
    Silence { url: String, problem: String },
    #[error(
        "the members of the cluster, according to {url}, are not those of --initial-cluster: \
         {problem}; name all members that etcdctl member list shows, including this one"
    )]
    NotTheSame { url: String, problem: String },
    #[error("--discovery-endpoints cannot be used to join an existing cluster")]
    RegistryOfExisting,
    #[error("cannot find the members in the SRV records of {domain}: {problem}")]
    Srv { domain: String, problem: String },
    #[error("failed to join discovery cluster ({0})")]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// Determines the identity of this member. A data directory that was used before contains it, and
/// the flags are ignored; otherwise the identity is written to the directory. The returned origin
/// has an effect only until the raft log exists, unless this member is forced to be the only one.
///
/// # Errors
/// The flags contradict each other or the answers of other members, or the data directory cannot
/// be written.
pub(crate) async fn identify(
    data_dir: &mut DataDir,
    founding: &Founding,
    dial: Arc<dyn Dial>,
) -> Result<(Identity, Origin), BootstrapError> {
    if let Some(identity) = data_dir.identity() {
        return return_to(data_dir, identity, founding);
    }
    if founding.is_forced {
        tracing::warn!("--force-new-cluster is ignored: the data directory is empty");
    }
    let (cluster_id, member_id, founders, others) = if founding.is_existing {
        join(founding, &dial).await?
    } else {
        found(founding, &dial).await?
    };
    let identity = Identity { cluster_id, member_id, incarnation: incarnation(0, rand::random()) };
    data_dir.set_identity(identity, founders)?;
    Ok((identity, origin(data_dir.founders(), others)))
}

/// The identity of a member that restarts with its data directory.
fn return_to(
    data_dir: &mut DataDir,
    mut identity: Identity,
    founding: &Founding,
) -> Result<(Identity, Origin), BootstrapError> {
    if matches!(founding.source, Source::Registry(_)) {
        tracing::warn!("--discovery-endpoints is ignored: this member already has its cluster");
    }
    if !founding.is_forced {
        // Needed if the member stopped during its first start, before it heard of its cluster.
        let others = match &founding.source {
            Source::Listed(listed) => listed.iter().map(|(_, url)| url.clone()).collect(),
            Source::Srv { .. } | Source::Registry(_) => Vec::new(),
        };
        return Ok((identity, origin(data_dir.founders(), others)));
    }
    // A new generation tells the former members that this one has left them.
    let generation = generation(identity.incarnation) + 1;
    identity.incarnation = incarnation(generation, rand::random());
    data_dir.set_identity(identity, Founders::new())?;
    Ok((identity, Origin::Forced(founders::texts(&founding.peer_urls))))
}

/// The origin of a member: a founder, if `founders` has any, or one that joined. `others` are URLs
/// of other members, if known.
fn origin(founders: &Founders, others: Vec<Url>) -> Origin {
    if founders.is_empty() {
        return Origin::Joined(founders::texts(&others));
    }
    let peer = |urls: &Vec<String>| Peer { peer_urls: urls.clone(), is_learner: false };
    let founders: BTreeMap<u64, Peer> =
        founders.iter().map(|(id, urls)| (*id, peer(urls))).collect();
    Origin::Founded(founders)
}

/// The members from the flags or the DNS, by name. This member must be one of them.
async fn named(founding: &Founding) -> Result<ByName, BootstrapError> {
    let members = match &founding.source {
        Source::Listed(listed) => founders::by_name(listed)?,
        Source::Srv { domain, suffix } => {
            let found = srv::find(domain, suffix, &founding.name, &founding.peer_urls).await?;
            founders::by_name(&found)?
        }
        Source::Registry(_) => return Err(BootstrapError::RegistryOfExisting),
    };
    if members.contains_key(&founding.name) {
        Ok(members)
    } else {
        Err(BootstrapError::Missing { name: founding.name.clone() })
    }
}

/// The ids of the cluster and of this member; all founders if this member is one, else none; and
/// the URLs of the other members.
type Found = (u64, u64, Founders, Vec<Url>);

/// Joins a cluster that exists.
async fn join(founding: &Founding, dial: &Arc<dyn Dial>) -> Result<Found, BootstrapError> {
    let mut members = named(founding).await?;
    let (cluster_id, member_id) = ask::find_existing(dial, &members, &founding.name).await?;
    members.remove(&founding.name);
    let others = members.into_values().flatten().collect();
    Ok((cluster_id, member_id, Founders::new(), others))
}

/// Founds a cluster.
async fn found(founding: &Founding, dial: &Arc<dyn Dial>) -> Result<Found, BootstrapError> {
    let Founding { name, peer_urls, token, .. } = founding;
    let (own, members): (Vec<Url>, Vec<Vec<Url>>) = match &founding.source {
        Source::Registry(registry) => {
            let mut own = peer_urls.clone();
            own.sort();
            let member_id = founder_id(&own, token);
            let members = registry::join(registry, member_id, name, &own).await?;
            (own, members)
        }
        Source::Listed(_) | Source::Srv { .. } => {
            let members = named(founding).await?;
            let own = members[name].clone();
            check_advertised(name, &own, peer_urls).await?;
            (own, members.into_values().collect())
        }
    };
    founders::all_differ(members.iter())?;
    let founders = founders::founders(members.iter(), token);
    let cluster_id = cluster_id(&founders);
    let member_id = founder_id(&own, token);
    let others: Vec<Url> = members.into_iter().filter(|urls| *urls != own).flatten().collect();
    ask::refuse_known(dial, &others, cluster_id, member_id).await?;
    Ok((cluster_id, member_id, founders, others))
}

/// Refuses advertised URLs that lead to other addresses than the given ones.
async fn check_advertised(
    name: &str,
    given: &[Url],
    advertised: &[Url],
) -> Result<(), BootstrapError> {
    let mut advertised = advertised.to_vec();
    advertised.sort();
    let same = resolve::are_same(given, &advertised).await;
    if same.map_err(|problem| BootstrapError::Resolve { problem })? {
        Ok(())
    } else {
        Err(BootstrapError::Mismatch {
            name: name.to_owned(),
            given: founders::texts(given).join(","),
            advertised: founders::texts(&advertised).join(","),
        })
    }
}

#[cfg(test)]
mod tests;
