//! The status of a cluster and of its members, written only if they have not changed since they
//! were seen: the lock is in it.

use std::collections::BTreeMap;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use quorate_crd::names::MANAGER;
use quorate_crd::v1alpha1::{QuorateClusterStatus, QuorateMemberStatus};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::observe::Seen;
use super::super::step::Step;
use super::hand::{Hand, Object};
use crate::context::Context;
use crate::error::Error;

/// Writes the part of a status that a step records.
///
/// # Errors
/// The status has changed since it was seen, or the request fails.
pub async fn record(context: &Context, seen: &Seen, step: &Step) -> Result<(), Error> {
    let hand = Hand { context, seen };
    match step {
        Step::Begin { change, next_member } => {
            let status = json!({ "change": change, "nextMember": next_member });
            patch_status(&hand, &seen.cluster, status).await
        }
        Step::End => patch_status(&hand, &seen.cluster, json!({ "change": null })).await,
        Step::RecordCluster { id } => {
            let status = json!({ "clusterId": format!("{id:x}") });
            patch_status(&hand, &seen.cluster, status).await
        }
        Step::RecordId { member, id } => {
            let status = json!({ "memberId": format!("{id:x}") });
            patch_status(&hand, hand.member(member)?, status).await
        }
        _ => Ok(()),
    }
}

/// Writes the status of a cluster and of its members, as far as they differ from the observed ones.
///
/// # Errors
/// A status has changed since it was seen, or a request fails.
pub async fn write_status(
    context: &Context,
    seen: &Seen,
    cluster: &QuorateClusterStatus,
    members: &BTreeMap<String, QuorateMemberStatus>,
) -> Result<(), Error> {
    let hand = Hand { context, seen };
    if let Some(change) = difference(&seen.cluster.status, cluster) {
        patch_status(&hand, &seen.cluster, change).await?;
    }
    for (name, status) in members {
        let Some(member) = seen.objects.members.get(name) else { continue };
        if let Some(change) = difference(&member.status, status) {
            patch_status(&hand, member, change).await?;
        }
    }
    Ok(())
}

async fn patch_status<K: Object>(hand: &Hand<'_>, object: &K, status: Value) -> Result<(), Error> {
    hand.context.gate.check()?;
    let name = object.name_any();
    let metadata = json!({ "resourceVersion": object.resource_version() });
    let patch = json!({ "metadata": metadata, "status": status });
    let parameters =
        PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let api: Api<K> = hand.api();
    let patched = api.patch_status(&name, &parameters, &Patch::Merge(patch)).await;
    let doing = format!("write the status of the {} {name}", K::kind(&()));
    patched.map_err(Error::kubernetes(doing))?;
    Ok(())
}

/// The merge patch that makes one object of another; none if they are the same.
fn difference<S: Serialize>(old: &Option<S>, new: &S) -> Option<Value> {
    let value = |status: &S| serde_json::to_value(status).expect("a status can be written");
    let old = old.as_ref().map_or_else(|| json!({}), value);
    let patch = merge_patch(&old, &value(new));
    (patch != json!({})).then_some(patch)
}

fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() && value.is_object() => {
                drop(patch.insert(key.clone(), merge_patch(before, value)));
            }
            _ => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_changes_and_what_goes() {
        let old = json!({ "a": 1, "b": { "c": 2, "d": 3 }, "e": [1], "f": {} });
        let new = json!({ "a": 1, "b": { "c": 4 }, "e": [1, 2], "g": { "h": 5 } });
        let patch = json!({
            "b": { "c": 4, "d": null }, "e": [1, 2], "f": null, "g": { "h": 5 },
        });
        assert_eq!(merge_patch(&old, &new), patch);
    }

    #[test]
    fn an_unchanged_status_is_not_written() {
        let status = QuorateClusterStatus { members: 3, ..QuorateClusterStatus::default() };
        assert_eq!(difference(&Some(status.clone()), &status), None);
        let change = difference(&Some(QuorateClusterStatus::default()), &status);
        assert_eq!(change, Some(json!({ "members": 3 })));
        assert!(difference(&None, &status).is_some());
    }
}
