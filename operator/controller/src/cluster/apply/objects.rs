//! Steps that change objects of Kubernetes.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use quorate_crd::names;
use serde_json::json;

use super::super::build;
use super::super::build::pod::{Parts, Start};
use super::super::observe::volume_bytes;
use super::hand::Hand;
use crate::certificates::ANNOTATION_RENEWED;
use crate::error::Error;

/// Makes the shared objects as they should be. If the cluster is paused, it sets only the owners of
/// claims. An object that is refused does not hold up the others.
pub(super) async fn apply_shared(hand: &Hand<'_>) -> Result<(), Error> {
    let cluster = &hand.seen.cluster;
    let mut outcome = Ok(());
    if !cluster.spec.paused {
        outcome = apply_network(hand).await;
    }
    for claim in hand.seen.objects.volumes.values() {
        if build::volume::must_change_owner(cluster, claim) {
            let owners = build::volume::owner(cluster).references();
            let change = json!({ "metadata": { "ownerReferences": owners } });
            outcome = outcome.and(hand.patch(claim, change).await);
        }
    }
    outcome
}

async fn apply_network(hand: &Hand<'_>) -> Result<(), Error> {
    let cluster = &hand.seen.cluster;
    let objects = &hand.seen.objects;
    let mut outcome = Ok(());
    for service in [build::services::peers(cluster), build::services::clients(cluster)] {
        let is_there = objects.services.contains_key(&service.name_any());
        outcome = outcome.and(hand.apply(&service, is_there).await);
    }
    outcome.and(match (build::network::policy(cluster), &objects.policy) {
        (Some(policy), actual) => hand.apply(&policy, actual.is_some()).await,
        (None, Some(policy)) => hand.delete(policy).await,
        (None, None) => Ok(()),
    })
}

/// Rewrites the disruption budget.
pub(super) async fn limit_disruption(hand: &Hand<'_>, min_available: i32) -> Result<(), Error> {
    let budget = build::disruption::budget(&hand.seen.cluster, min_available);
    hand.apply(&budget, hand.seen.objects.budget.is_some()).await
}

/// Records a member.
pub(super) async fn create_member(
    hand: &Hand<'_>,
    member: &str,
    number: i64,
    founds: bool,
) -> Result<(), Error> {
    hand.create(&build::member::member(&hand.seen.cluster, member, number, founds)).await
}

/// Creates the volume claim of a member.
pub(super) async fn create_volume(hand: &Hand<'_>, member: &str, bytes: u64) -> Result<(), Error> {
    hand.create(&build::volume::volume(&hand.seen.cluster, member, bytes)).await
}

/// Asks for a larger volume.
pub(super) async fn grow_volume(hand: &Hand<'_>, member: &str, bytes: u64) -> Result<(), Error> {
    let amount = build::volume::amount(&hand.seen.cluster, bytes);
    let resources = json!({ "requests": { "storage": amount } });
    let change = json!({ "spec": { "resources": resources } });
    hand.patch::<PersistentVolumeClaim>(hand.volume(member)?, change).await
}

/// Creates the pod of a member.
pub(super) async fn create_pod(
    hand: &Hand<'_>,
    member: &str,
    founds: bool,
    is_voter: bool,
    version: &str,
) -> Result<(), Error> {
    let cluster = &hand.seen.cluster;
    let secret = hand.seen.objects.secrets.get(member);
    let annotations = secret.and_then(|secret| secret.annotations.as_ref());
    let parts = Parts {
        certificates: annotations.and_then(|all| all.get(ANNOTATION_RENEWED)),
        member: hand.member(member)?,
        version,
        volume_bytes: volume_bytes(cluster, &hand.seen.objects, member),
        start: if founds { Start::Found } else { Start::Join(members(hand)) },
        is_voter,
    };
    hand.create(&build::pod::pod(cluster, &hand.context.defaults, &parts)).await
}

/// The members that a new member joins: those in the store's list. Without this list, only a member
/// that has started before can start, and such a member does not read the list.
fn members(hand: &Hand<'_>) -> Vec<(String, String)> {
    let cluster = hand.seen.cluster.name_any();
    let namespace = hand.seen.cluster.namespace().unwrap_or_default();
    let url = |member: &String| names::peer_url(&cluster, member, &namespace);
    let known = hand.seen.objects.members.keys().map(|member| (member.clone(), url(member)));
    let Some(list) = &hand.seen.answers.list else { return known.collect() };
    let known: Vec<(String, String)> = known.collect();
    let name = |peer_url: &String| known.iter().find(|(_, known)| known == peer_url);
    let listed = list.members.iter().map(|member| {
        let name = name(&member.peer_url).map_or(&member.name, |(name, _)| name);
        (name.clone(), member.peer_url.clone())
    });
    listed.collect()
}

/// Deletes a pod.
pub(super) async fn delete_pod(
    hand: &Hand<'_>,
    member: &str,
    uid: &str,
    force: bool,
) -> Result<(), Error> {
    let mut parameters = DeleteParams::default();
    if force {
        parameters = parameters.grace_period(0);
    }
    hand.delete_with::<Pod>(member, Some(uid.to_owned()), parameters).await
}
