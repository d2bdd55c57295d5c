//! Which shared objects are not as they should be.

use std::collections::BTreeSet;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt as _};
use quorate_crd::v1alpha1::{OnDelete, QuorateCluster};
use serde::Serialize;
use serde_json::Value;

use super::super::build;
use super::Objects;

/// The shared objects that are missing or not as they should be, by kind and name.
pub(super) fn objects(cluster: &QuorateCluster, objects: &Objects) -> BTreeSet<String> {
    let mut stale = BTreeSet::new();
    for service in [build::services::peers(cluster), build::services::clients(cluster)] {
        let actual = objects.services.get(&service.name_any());
        if !actual.is_some_and(|actual| has(actual, &service)) {
            stale.insert(name(&service));
        }
    }
    match (build::network::policy(cluster), &objects.policy) {
        (Some(wanted), Some(actual)) if has(actual, &wanted) => {}
        (None, None) => {}
        (Some(policy), _) => drop(stale.insert(name(&policy))),
        (None, Some(policy)) => drop(stale.insert(name(policy))),
    }
    // A pause does not delete the objects that the user wants to keep.
    let is_due = !cluster.spec.paused || cluster.spec.storage.on_delete == OnDelete::Retain;
    for claim in objects.volumes.values().filter(|_| is_due) {
        if build::volume::must_change_owner(cluster, claim) {
            stale.insert(name(claim));
        }
    }
    stale
}

fn name<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.name_any())
}

/// The number of pods that a disruption budget asks for.
pub(super) fn min_available(budget: &PodDisruptionBudget) -> Option<i32> {
    match budget.spec.as_ref()?.min_available.as_ref()? {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(_) => None,
    }
}

/// Whether an object has everything that another one asks for. The API server adds defaults.
fn has<K: Serialize>(actual: &K, wanted: &K) -> bool {
    let value = |object: &K| serde_json::to_value(object).expect("an object can be written");
    contains(&value(actual), &value(wanted))
}

fn contains(actual: &Value, wanted: &Value) -> bool {
    match (actual, wanted) {
        (Value::Object(actual), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| actual.get(key).is_some_and(|value| contains(value, wanted))),
        (Value::Array(actual), Value::Array(wanted)) => {
            let mut pairs = actual.iter().zip(wanted);
            actual.len() == wanted.len() && pairs.all(|(actual, wanted)| contains(actual, wanted))
        }
        _ => actual == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_may_have_more_than_is_asked_for() {
        let actual = json!({ "a": 1, "b": { "c": [{ "d": 2, "e": 3 }] } });
        for (wanted, is_contained) in [
            (json!({}), true),
            (json!({ "a": 1 }), true),
            (json!({ "b": { "c": [{ "d": 2 }] } }), true),
            (json!({ "a": 2 }), false),
            (json!({ "f": 1 }), false),
            (json!({ "b": { "c": [] } }), false),
            (json!({ "b": { "c": [{ "d": 3 }] } }), false),
        ] {
            assert_eq!(contains(&actual, &wanted), is_contained, "{wanted}");
        }
    }
}
