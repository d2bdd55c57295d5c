//! The objects of a cluster, as they should be. Pure: no request, no clock.

pub mod disruption;
pub mod files;
mod flags;
pub mod member;
pub mod network;
pub mod pod;
pub mod services;
pub mod volume;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt as _};
use quorate_crd::names;
use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The object with whose deletion another one is deleted.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// A cluster.
    Cluster(&'a QuorateCluster),
    /// A member.
    Member(&'a QuorateMember),
    /// None: the object stays until a person deletes it.
    Unowned,
}

impl Owner<'_> {
    /// The references to the owner: at most one.
    #[must_use]
    pub fn references(self) -> Option<Vec<OwnerReference>> {
        fn reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
            OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: owner.name_any(),
                uid: owner.uid().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: None,
            }
        }
        match self {
            Self::Cluster(cluster) => Some(vec![reference(cluster)]),
            Self::Member(member) => Some(vec![reference(member)]),
            Self::Unowned => None,
        }
    }
}

/// The labels of all objects of a cluster.
#[must_use]
pub fn labels(cluster: &QuorateCluster) -> BTreeMap<String, String> {
    let cluster = cluster.name_any();
    let labels = [
        (names::LABEL_NAME, names::APPLICATION),
        (names::LABEL_INSTANCE, &cluster),
        (names::LABEL_MANAGED_BY, names::MANAGER),
        (names::LABEL_CLUSTER, &cluster),
    ];
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The label by which the pods and other objects of a cluster are found.
#[must_use]
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    [(names::LABEL_CLUSTER.to_owned(), cluster.to_owned())].into()
}

/// The labels of the pods of voters.
#[must_use]
pub fn voters(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = selector(cluster);
    labels.insert(names::LABEL_ROLE.to_owned(), names::ROLE_VOTER.to_owned());
    labels
}

/// The labels that the objects of a member have besides [`labels`].
#[must_use]
pub fn member_labels(member: &str) -> BTreeMap<String, String> {
    [(names::LABEL_MEMBER.to_owned(), member.to_owned())].into()
}

/// The metadata of an object of a cluster.
#[must_use]
pub fn metadata(cluster: &QuorateCluster, name: String, owner: Owner<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: cluster.namespace(),
        labels: Some(labels(cluster)),
        owner_references: owner.references(),
        ..ObjectMeta::default()
    }
}

/// The text that tells a cluster from all others, also from an earlier one of the same name.
#[must_use]
pub fn token(cluster: &QuorateCluster) -> String {
    let namespace = cluster.namespace().unwrap_or_default();
    format!("{namespace}-{}-{}", cluster.name_any(), cluster.uid().unwrap_or_default())
}

/// The host name of a member.
#[must_use]
pub fn host(cluster: &QuorateCluster, member: &str) -> String {
    let service = names::peer_service(&cluster.name_any());
    format!("{member}.{service}.{}.svc", cluster.namespace().unwrap_or_default())
}

/// A short hash, the same in all versions of the operator.
#[must_use]
pub fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The object that a literal describes.
fn object<K: DeserializeOwned>(literal: serde_json::Value) -> K {
    serde_json::from_value(literal).expect("the literals of this module are objects of their kinds")
}

#[cfg(test)]
mod tests;
