//! The step that issues certificates.

use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt as _};
use quorate_crd::names;
use serde_json::json;

use super::super::build::Owner;
use super::hand::Hand;
use crate::certificates::{self, ANNOTATION_RENEWED, Authority, Purpose, Wanted};
use crate::error::Error;

/// Issues the certificates that are missing or must be renewed, and deletes the Secrets that are
/// not needed. A Secret that is refused does not hold up the others. The Secrets of members come
/// first.
pub(super) async fn issue(hand: &Hand<'_>) -> Result<(), Error> {
    let seen = hand.seen;
    let cluster = &seen.cluster;
    let members = seen.objects.members.keys().map(String::as_str);
    let mut wanted = certificates::wanted(cluster, &hand.context.defaults.domain, members);
    let name = cluster.name_any();
    let clients = authority(hand, &wanted, &names::client_ca(&name)).await?;
    let peers = authority(hand, &wanted, &names::peer_ca(&name)).await?;
    let own = names::operator_client(&name);
    wanted.sort_by_key(|wanted| wanted.name != own && matches!(wanted.purpose, Purpose::Client(_)));
    let mut outcome = Ok(());
    for wanted in &wanted {
        outcome = outcome.and(issue_one(hand, wanted, (&clients, &peers)).await);
    }
    for (name, metadata) in &seen.objects.secrets {
        if !wanted.iter().any(|wanted| wanted.name == *name) {
            let parameters = kube::api::DeleteParams::background();
            let deleted = hand.delete_with::<Secret>(name, metadata.uid.clone(), parameters).await;
            outcome = outcome.and(deleted);
        }
    }
    outcome
}

async fn issue_one(
    hand: &Hand<'_>,
    wanted: &Wanted,
    authorities: (&Authority, &Authority),
) -> Result<(), Error> {
    let seen = hand.seen;
    let now = (hand.context.now)();
    let secret = seen.objects.secrets.get(&wanted.name);
    // The operator's own Secret may be damaged. Its metadata does not show this.
    let is_damaged = matches!(wanted.purpose, Purpose::Client(_))
        && seen.observed.stale_certificates.contains(&wanted.name);
    let is_good = |secret: &&ObjectMeta| !is_damaged && !wanted.is_stale(secret, now);
    if let Some(secret) = secret.filter(is_good) {
        return match seen.objects.pods.get(&wanted.name) {
            Some(pod) => show(hand, pod, secret).await,
            None => Ok(()),
        };
    }
    let owner = match &wanted.purpose {
        Purpose::Member { member, .. } => Owner::Member(hand.member(member)?),
        _ => Owner::Cluster(&seen.cluster),
    };
    match certificates::filled(&seen.cluster, wanted, owner, authorities, now)? {
        Some(filled) => hand.apply(&filled, secret.is_some()).await,
        None => Ok(()),
    }
}

/// Makes the kubelet look at a Secret. This happens in the round after the write of the Secret,
/// because the kubelet must have heard of the write first.
async fn show(hand: &Hand<'_>, pod: &Pod, secret: &ObjectMeta) -> Result<(), Error> {
    if certificates::is_shown(&pod.metadata, secret) {
        return Ok(());
    }
    let renewed = secret.annotations.as_ref().and_then(|all| all.get(ANNOTATION_RENEWED));
    let annotations = json!({ ANNOTATION_RENEWED: renewed });
    hand.patch(pod, json!({ "metadata": { "annotations": annotations } })).await
}

/// An authority. It is made once: a second one would divide the members into two camps.
async fn authority(hand: &Hand<'_>, wanted: &[Wanted], name: &str) -> Result<Authority, Error> {
    let cluster = &hand.seen.cluster;
    if hand.seen.objects.secrets.contains_key(name) {
        let secrets: Api<Secret> = hand.api();
        let secret = secrets.get(name).await;
        let secret = secret.map_err(Error::kubernetes(format!("get the Secret {name}")))?;
        return Ok(Authority::try_from(&secret)?);
    }
    if hand.seen.observed.status.cluster_id.is_some() {
        let text = format!("the Secret {name}, which its members trust: restore it; it");
        return Err(Error::Missing(text));
    }
    let wanted = wanted.iter().find(|wanted| wanted.name == name);
    let Some(Wanted { purpose: Purpose::Authority(common_name), .. }) = wanted else {
        return Err(Error::Missing(format!("the Secret {name}")));
    };
    let wanted = wanted.expect("it was just matched");
    let now = (hand.context.now)();
    let secret = certificates::filled_authority(cluster, wanted, common_name, now)?;
    hand.create(&secret).await?;
    Ok(Authority::try_from(&secret)?)
}
