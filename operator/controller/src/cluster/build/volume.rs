//! The claim of a member's volume.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use quorate_crd::names;
use quorate_crd::v1alpha1::{OnDelete, QuorateCluster};
use serde_json::json;

use super::Owner;

/// Annotation: the uid of the cluster that a claim was made for. A later cluster of the same name
/// has another one.
const ANNOTATION_UID: &str = "quorate.dev/cluster-uid";

/// Whether a claim was made for a cluster, and not for an earlier one of the same name.
#[must_use]
pub fn is_of(cluster: &QuorateCluster, claim: &PersistentVolumeClaim) -> bool {
    let uid = cluster.uid();
    uid.is_some() && claim.annotations().get(ANNOTATION_UID) == uid.as_ref()
}

/// The claim of a member's volume.
#[must_use]
pub fn volume(cluster: &QuorateCluster, member: &str, bytes: u64) -> PersistentVolumeClaim {
    let storage = &cluster.spec.storage;
    let mut metadata = super::metadata(cluster, names::volume(member), owner(cluster));
    metadata.labels.get_or_insert_default().extend(super::member_labels(member));
    let uid = cluster.uid().unwrap_or_default();
    metadata.annotations = Some([(ANNOTATION_UID.to_owned(), uid)].into());
    let mut claim: PersistentVolumeClaim = super::object(json!({ "spec": {
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": amount(cluster, bytes) } },
        "storageClassName": storage.class_name,
    }}));
    claim.metadata = metadata;
    claim
}

/// The owner of the claims of a cluster: none, unless the user wants them deleted with the cluster.
#[must_use]
pub fn owner(cluster: &QuorateCluster) -> Owner<'_> {
    match cluster.spec.storage.on_delete {
        OnDelete::Delete => Owner::Cluster(cluster),
        OnDelete::Retain => Owner::Unowned,
    }
}

/// An amount of bytes as Kubernetes takes it: as the user wrote it, if it is the size of the spec.
#[must_use]
pub fn amount(cluster: &QuorateCluster, bytes: u64) -> String {
    let asked = &cluster.spec.storage.size;
    if asked.bytes() == Ok(bytes) { asked.to_string() } else { bytes.to_string() }
}

/// Whether a claim must get another owner, because the user wants another fate for it.
#[must_use]
pub fn must_change_owner(cluster: &QuorateCluster, claim: &PersistentVolumeClaim) -> bool {
    let owner = owner(cluster).references().unwrap_or_default();
    let uids = |owners: &[OwnerReference]| -> Vec<String> {
        owners.iter().map(|owner| owner.uid.clone()).collect()
    };
    uids(claim.owner_references()) != uids(&owner)
}
