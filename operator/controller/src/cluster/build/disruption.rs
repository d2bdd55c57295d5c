//! The disruption budget of a cluster.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use quorate_crd::v1alpha1::QuorateCluster;
use serde_json::json;

use super::Owner;

/// The disruption budget of a cluster. Its minimum is a number. Kubernetes would take a percentage
/// of the scale of the pods' owner, and this owner has no scale.
#[must_use]
pub fn budget(cluster: &QuorateCluster, min_available: i32) -> PodDisruptionBudget {
    let name = cluster.name_any();
    let mut budget: PodDisruptionBudget = super::object(json!({ "spec": {
        "minAvailable": min_available,
        "selector": { "matchLabels": super::voters(&name) },
    }}));
    budget.metadata = super::metadata(cluster, name, Owner::Cluster(cluster));
    budget
}
