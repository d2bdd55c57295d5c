//! Observes a cluster: reads its objects, and asks its members.
//!
//! Each round reads everything anew, with linearizable reads. A cache could show a pod that is
//! gone, or hide a member that was just recorded.

mod objects;
mod pod;
mod renewal;
mod stale;
mod store;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt as _;
use quorate_crd::names;
use quorate_crd::v1alpha1::{Certificates, QuorateCluster, QuorateMember};

pub use objects::Objects;
pub use store::Answers;

use super::build;
use super::failures::Failures;
use super::observed::{Member, Observed};
use crate::certificates;
use crate::context::{Context, Defaults};
use crate::error::Error;

/// The observations of a cluster: the objects, the answers, and the facts that the plan needs.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The cluster.
    pub cluster: QuorateCluster,
    /// Its objects.
    pub objects: Objects,
    /// The answers of its members.
    pub answers: Answers,
    /// The facts that the plan decides by.
    pub observed: Observed,
}

/// Reads the objects of a cluster, and asks its members.
///
/// # Errors
/// The API server refuses a request, or gives no answer. A member that does not answer is no error.
pub async fn observe(
    context: &Context,
    cluster: QuorateCluster,
    now: Timestamp,
) -> Result<Seen, Error> {
    let objects = Objects::read(&context.client, &cluster).await?;
    let answers = store::ask(context, &cluster, &objects, now).await?;
    let mut observed = observed(&cluster, &objects, &answers, &context.defaults, now);
    if answers.is_identity_damaged {
        observed.stale_certificates.insert(names::operator_client(&cluster.name_any()));
    }
    observed.lost_authorities =
        renewal::lost_authorities(context, &cluster, &objects, &observed).await?;
    Ok(Seen { cluster, objects, answers, observed })
}

fn observed(
    cluster: &QuorateCluster,
    objects: &Objects,
    answers: &Answers,
    defaults: &Defaults,
    now: Timestamp,
) -> Observed {
    let members = objects.members.iter().map(|(name, object)| {
        let mut member = member(cluster, objects, object, defaults);
        let answer = answers.members.get(name);
        let secret = objects.secrets.get(name);
        member.certificate_fault = answer
            .zip(secret)
            .and_then(|(answer, secret)| renewal::fault(secret, &answer.certificates, now));
        member.answer = answer.map(store::answer);
        (name.clone(), member)
    });
    let (stale_certificates, certificates) = certificates(cluster, objects, defaults, now);
    Observed {
        is_deleted: cluster.metadata.deletion_timestamp.is_some(),
        status: cluster.status.clone().unwrap_or_default(),
        members: members.collect(),
        orphans: orphans(objects),
        last_number: last_number(cluster, objects),
        store: answers.store(),
        min_available: objects.budget.as_ref().and_then(stale::min_available),
        stale_objects: stale::objects(cluster, objects),
        stale_certificates,
        lost_authorities: BTreeSet::new(),
        certificates,
        failures: Failures::default(),
    }
}

impl Seen {
    /// The time at which the next certificate must be renewed.
    #[must_use]
    pub fn next_renewal(&self) -> Option<Timestamp> {
        let secrets = self.objects.secrets.values();
        secrets.filter_map(|secret| Some(certificates::validity(secret)?.renewed)).min()
    }
}

/// The volume size that a member's pods are made for. It is at most the size in the spec: a claim
/// that was bound to a larger volume than it asks for does not change the pods.
pub(super) fn volume_bytes(cluster: &QuorateCluster, objects: &Objects, member: &str) -> u64 {
    let wanted = cluster.spec.storage.size.bytes().unwrap_or(0);
    let volume = objects.volumes.get(member).map(volume::volume);
    volume.map_or(wanted, |volume| wanted.min(volume.size.unwrap_or(volume.asked)))
}

fn member(
    cluster: &QuorateCluster,
    objects: &Objects,
    object: &QuorateMember,
    defaults: &Defaults,
) -> Member {
    let name = object.name_any();
    let status = object.status.clone().unwrap_or_default();
    let id = status.member_id.as_ref().and_then(|id| u64::from_str_radix(id, 16).ok());
    let bytes = volume_bytes(cluster, objects, &name);
    Member {
        number: object.spec.number,
        founds: object.spec.founds,
        is_deleted: object.metadata.deletion_timestamp.is_some(),
        id,
        version: status.version,
        settings: build::pod::settings(cluster, defaults, bytes),
        unreachable_since: status.unreachable_since.map(|since| since.0),
        volume: objects.volumes.get(&name).map(volume::volume),
        pod: objects.pods.get(&name).map(|pod| pod::pod(pod, &objects.lost_nodes)),
        answer: None,
        certificate_fault: None,
    }
}

/// The names of members that have a claim in use, but no record. A claim that is kept or being
/// deleted is not in use.
fn orphans(objects: &Objects) -> BTreeSet<String> {
    let claims = objects.volumes.iter().filter(|(name, claim)| {
        let volume = volume::volume(claim);
        !objects.members.contains_key(*name) && !volume.is_kept && !volume.is_deleted
    });
    claims.map(|(name, _)| name.clone()).collect()
}

/// The highest number in the names of members and claims that begin with the cluster's name.
fn last_number(cluster: &QuorateCluster, objects: &Objects) -> i64 {
    let prefix = names::member(&cluster.name_any(), 0);
    let prefix = prefix.trim_end_matches('0');
    let number = |name: &String| name.strip_prefix(prefix)?.parse::<i64>().ok();
    objects.names.iter().filter_map(number).max().unwrap_or(0)
}

/// The names of the Secrets that are missing, wrong or no longer wanted, and the times at which the
/// certificates expire.
fn certificates(
    cluster: &QuorateCluster,
    objects: &Objects,
    defaults: &Defaults,
    now: Timestamp,
) -> (BTreeSet<String>, Certificates) {
    let members = objects.members.keys().map(String::as_str);
    let wanted = certificates::wanted(cluster, &defaults.domain, members);
    let is_good = |wanted: &certificates::Wanted| {
        let secret = objects.secrets.get(&wanted.name);
        let pod = objects.pods.get(&wanted.name).map(|pod| &pod.metadata);
        let is_shown = |secret| {
            let is_running = |pod: &&ObjectMeta| pod.deletion_timestamp.is_none();
            pod.filter(is_running).is_none_or(|pod| certificates::is_shown(pod, secret))
        };
        secret.is_some_and(|secret| !wanted.is_stale(secret, now) && is_shown(secret))
    };
    let mut stale: BTreeSet<String> =
        wanted.iter().filter(|wanted| !is_good(wanted)).map(|wanted| wanted.name.clone()).collect();
    let wanted: BTreeSet<&String> = wanted.iter().map(|wanted| &wanted.name).collect();
    stale.extend(objects.secrets.keys().filter(|name| !wanted.contains(name)).cloned());
    let expires: BTreeMap<&String, Timestamp> = objects
        .secrets
        .iter()
        .filter_map(|(name, secret)| Some((name, certificates::validity(secret)?.expires)))
        .collect();
    let name = cluster.name_any();
    let authorities = [names::client_ca(&name), names::peer_ca(&name)];
    let time = |time: &Timestamp| Time(*time);
    let leaves = expires.iter().filter(|(name, _)| !authorities.contains(name));
    let certificates = Certificates {
        client_ca: expires.get(&authorities[0]).map(time),
        peer_ca: expires.get(&authorities[1]).map(time),
        next_expiry: leaves.map(|(_, expires)| expires).min().map(time),
    };
    (stale, certificates)
}
