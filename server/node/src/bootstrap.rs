//! How this member comes to its cluster: by itself, once its data directory says who it is; before,
//! as the flags say.
//!
//! ```text
//!   data directory used before? --yes--> it says who this member is
//!        | no
//!   cluster exists? --yes--> ask its members who this one is; wait for their leader
//!        | no
//!   found it with those in the flags, in the DNS, or at a discovery service
//! ```
//!
//! A member that lost its data directory must not come back as who it was: it may have voted, and
//! its copy of the log may have been counted. Ids follow from the flags, so that it would take the
//! same; the others, who remember it, tell.

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

/// Why a member cannot come to its cluster as the flags say. Each text names the way out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    #[error("--initial-cluster does not name this member, {name:?} (--name)")]
    Missing { name: String },
    #[error(
        "--initial-cluster: the initial cluster has duplicate url {url}; each member needs its own"
    )]
    Duplicate { url: String },
    #[error(
        "--initial-cluster gives {name:?} the URLs {given}, but --initial-advertise-peer-urls \
         says {advertised}; make them the same"
    )]
    Mismatch { name: String, given: String, advertised: String },
    #[error("{problem}")]
    Resolve { problem: String },
    #[error(
        "member {member_id:x} has already been bootstrapped: the cluster runs and knows it with \
         another data directory, whose data it relies on. If that is lost, remove the member \
         (etcdctl member remove {member_id:x}), add it again (etcdctl member add {name} \
         --peer-urls={peer_urls}) and start it with --initial-cluster-state=existing"
    )]
    AlreadyRan { member_id: u64, name: String, peer_urls: String },
    #[error(
        "member {member_id:x} was removed from the cluster, as {url} says, and cannot come back as \
         who it was: add it again (etcdctl member add) and start it with \
         --initial-cluster-state=existing"
    )]
    Removed { member_id: u64, url: String },
    #[error(
        "cluster ID mismatch: {url} belongs to cluster {theirs:x}, the flags make {cluster_id:x}; \
         all founders need the same --initial-cluster and --initial-cluster-token, and none of \
         them a data directory of another cluster"
    )]
    OtherCluster { url: String, theirs: u64, cluster_id: u64 },
    #[error(
        "--initial-cluster names no other member that could be asked about the cluster; add one, \
         or found a cluster with --initial-cluster-state=new"
    )]
    NobodyToAsk,
    #[error(
        "cannot fetch cluster info from peer urls: {url}: {problem}; --initial-cluster must have \
         peer URLs of members of Quorate that run"
    )]
    Silence { url: String, problem: String },
    #[error(
        "the members are not those of --initial-cluster, as {url} says: {problem}; name all \
         members that etcdctl member list shows, this one among them"
    )]
    NotTheSame { url: String, problem: String },
    #[error("--discovery-endpoints is of no use to join a cluster that exists")]
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

/// Who this member is. A data directory that was never used is marked as this member's; one that
/// was used says by itself, whatever the flags say. The origin that is returned besides is of no
/// meaning once the raft log exists, unless this member is forced to be the only one.
///
/// # Errors
/// Contradictions between the flags and what others say; a data directory that cannot be written.
pub(crate) async fn identify(
    data_dir: &mut DataDir,
    founding: &Founding,
    dial: Arc<dyn Dial>,
) -> Result<(Identity, Origin), BootstrapError> {
    if let Some(identity) = data_dir.identity() {
        return return_to(data_dir, identity, founding);
    }
    if founding.is_forced {
        tracing::warn!("--force-new-cluster is of no meaning: the data directory is empty");
    }
    let (cluster_id, member_id, founders, others) = match founding.is_existing {
        true => join(founding, &dial).await?,
        false => found(founding, &dial).await?,
    };
    let identity = Identity { cluster_id, member_id, incarnation: incarnation(0, rand::random()) };
    data_dir.set_identity(identity, founders)?;
    Ok((identity, origin(data_dir.founders(), others)))
}

/// A member that is who it was.
fn return_to(
    data_dir: &mut DataDir,
    mut identity: Identity,
    founding: &Founding,
) -> Result<(Identity, Origin), BootstrapError> {
    if matches!(founding.source, Source::Registry(_)) {
        tracing::warn!("the discovery service is not asked: this member has its cluster already");
    }
    if !founding.is_forced {
        // Should its first start have ended before it heard of its cluster.
        let others = match &founding.source {
            Source::Listed(listed) => listed.iter().map(|(_, url)| url.clone()).collect(),
            Source::Srv { .. } | Source::Registry(_) => Vec::new(),
        };
        return Ok((identity, origin(data_dir.founders(), others)));
    }
    // Those who knew it as it was must see that it goes on without them.
    let generation = generation(identity.incarnation) + 1;
    identity.incarnation = incarnation(generation, rand::random());
    data_dir.set_identity(identity, Founders::new())?;
    Ok((identity, Origin::Forced(founders::texts(&founding.peer_urls))))
}

/// How this member came to its cluster; `others` are URLs of members, if that is known.
fn origin(founders: &Founders, others: Vec<Url>) -> Origin {
    if founders.is_empty() {
        return Origin::Joined(founders::texts(&others));
    }
    let peer = |urls: &Vec<String>| Peer { peer_urls: urls.clone(), is_learner: false };
    let founders: BTreeMap<u64, Peer> =
        founders.iter().map(|(id, urls)| (*id, peer(urls))).collect();
    Origin::Founded(founders)
}

/// The members that the flags or the DNS name.
async fn named(founding: &Founding) -> Result<ByName, BootstrapError> {
    let members = match &founding.source {
        Source::Listed(listed) => founders::by_name(listed)?,
        Source::Srv { domain, suffix } => {
            let found = srv::find(domain, suffix, &founding.name, &founding.peer_urls).await?;
            founders::by_name(&found)?
        }
        Source::Registry(_) => return Err(BootstrapError::RegistryOfExisting),
    };
    match members.contains_key(&founding.name) {
        true => Ok(members),
        false => Err(BootstrapError::Missing { name: founding.name.clone() }),
    }
}

/// The ids of a cluster and of this member, all founders if it is one, and the URLs of others.
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
    let (cluster_id, member_id) = (cluster_id(&founders), founder_id(&own, token));
    let others: Vec<Url> = members.into_iter().filter(|urls| *urls != own).flatten().collect();
    ask::refuse_known(dial, &others, cluster_id, member_id).await?;
    Ok((cluster_id, member_id, founders, others))
}

/// Refuses URLs that are not those that the others are told.
async fn check_advertised(
    name: &str,
    given: &[Url],
    advertised: &[Url],
) -> Result<(), BootstrapError> {
    let mut advertised = advertised.to_vec();
    advertised.sort();
    let same = resolve::are_same(given, &advertised).await;
    match same.map_err(|problem| BootstrapError::Resolve { problem })? {
        true => Ok(()),
        false => Err(BootstrapError::Mismatch {
            name: name.to_owned(),
            given: founders::texts(given).join(","),
            advertised: founders::texts(&advertised).join(","),
        }),
    }
}

#[cfg(test)]
mod tests;
