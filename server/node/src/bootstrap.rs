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
mod discovery;
mod error;
mod founders;
mod resolve;
mod srv;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_raft::{Dial, Peer, StartMode};
use quorate_storage::data_dir::{DataDir, Founders, Identity, generation, incarnation};

use crate::config::url::Url;
use crate::config::{InitialCluster, Source};
pub(crate) use error::BootstrapError;
use founders::{ByName, cluster_id, founder_id};

/// Determines the identity of this member. A data directory that was used before contains it, and
/// the flags are ignored; otherwise the identity is written to the directory. The returned mode
/// has an effect only until the raft log exists, unless this member is forced to be the only one.
///
/// # Errors
/// The flags contradict each other or the answers of other members, or the data directory cannot
/// be written.
pub(crate) async fn identify(
    data_dir: &mut DataDir,
    cluster: &InitialCluster,
    dial: Arc<dyn Dial>,
) -> Result<(Identity, StartMode), BootstrapError> {
    if let Some(identity) = data_dir.identity() {
        return restart(data_dir, identity, cluster);
    }
    if cluster.is_forced {
        tracing::warn!("--force-new-cluster is ignored: the data directory is empty");
    }
    let Determined { cluster_id, member_id, founders, others } = if cluster.is_existing {
        join(cluster, &dial).await?
    } else {
        found(cluster, &dial).await?
    };
    let identity = Identity { cluster_id, member_id, incarnation: incarnation(0, rand::random()) };
    data_dir.set_identity(identity, founders)?;
    Ok((identity, mode(data_dir.founders(), others)))
}

/// The identity of a member that restarts with its data directory.
fn restart(
    data_dir: &mut DataDir,
    mut identity: Identity,
    cluster: &InitialCluster,
) -> Result<(Identity, StartMode), BootstrapError> {
    if matches!(cluster.source, Source::Discovery(_)) {
        tracing::warn!("--discovery-endpoints is ignored: this member already has its cluster");
    }
    if !cluster.is_forced {
        // Needed if the member stopped during its first start, before it heard of its cluster.
        let others = match &cluster.source {
            Source::Listed(listed) => listed.iter().map(|(_, url)| url.clone()).collect(),
            Source::Srv { .. } | Source::Discovery(_) => Vec::new(),
        };
        return Ok((identity, mode(data_dir.founders(), others)));
    }
    // A new generation tells the former members that this one has left them.
    let generation = generation(identity.incarnation) + 1;
    identity.incarnation = incarnation(generation, rand::random());
    data_dir.set_identity(identity, Founders::new())?;
    Ok((identity, StartMode::ForceNewCluster(founders::texts(&cluster.peer_urls))))
}

/// The start mode of a member: it founds the cluster if `founders` has any, and otherwise joins.
/// `others` are URLs of other members, if known.
fn mode(founders: &Founders, others: Vec<Url>) -> StartMode {
    if founders.is_empty() {
        return StartMode::Join(founders::texts(&others));
    }
    let peer = |urls: &Vec<String>| Peer { peer_urls: urls.clone(), is_learner: false };
    let founders: BTreeMap<u64, Peer> =
        founders.iter().map(|(id, urls)| (*id, peer(urls))).collect();
    StartMode::NewCluster(founders)
}

/// The members from the flags or the DNS, by name. This member must be one of them.
async fn listed(cluster: &InitialCluster) -> Result<ByName, BootstrapError> {
    let members = match &cluster.source {
        Source::Listed(members) => founders::by_name(members)?,
        Source::Srv { domain, suffix } => {
            let found = srv::find(domain, suffix, &cluster.name, &cluster.peer_urls).await?;
            founders::by_name(&found)?
        }
        Source::Discovery(_) => return Err(BootstrapError::DiscoveryOfExisting),
    };
    if members.contains_key(&cluster.name) {
        Ok(members)
    } else {
        Err(BootstrapError::Missing { name: cluster.name.clone() })
    }
}

/// The result of founding or joining a cluster.
struct Determined {
    cluster_id: u64,
    member_id: u64,
    /// All founders if this member is one, else none.
    founders: Founders,
    /// The URLs of the other members.
    others: Vec<Url>,
}

/// Joins a cluster that exists.
async fn join(
    cluster: &InitialCluster,
    dial: &Arc<dyn Dial>,
) -> Result<Determined, BootstrapError> {
    let mut members = listed(cluster).await?;
    let (cluster_id, member_id) = ask::find_existing(dial, &members, &cluster.name).await?;
    members.remove(&cluster.name);
    let others = members.into_values().flatten().collect();
    Ok(Determined { cluster_id, member_id, founders: Founders::new(), others })
}

/// Founds a cluster.
async fn found(
    cluster: &InitialCluster,
    dial: &Arc<dyn Dial>,
) -> Result<Determined, BootstrapError> {
    let InitialCluster { name, peer_urls, token, .. } = cluster;
    let (own, members): (Vec<Url>, Vec<Vec<Url>>) = match &cluster.source {
        Source::Discovery(service) => {
            let mut own = peer_urls.clone();
            own.sort();
            let member_id = founder_id(&own, token);
            let members = discovery::join(service, member_id, name, &own).await?;
            (own, members)
        }
        Source::Listed(_) | Source::Srv { .. } => {
            let members = listed(cluster).await?;
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
    Ok(Determined { cluster_id, member_id, founders, others })
}

/// Refuses advertised URLs that lead to addresses other than the given ones.
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
