//! The record of a member.

use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember, QuorateMemberSpec};

use kube::ResourceExt as _;

use super::Owner;

/// The record of a member.
#[must_use]
pub fn member(cluster: &QuorateCluster, name: &str, number: i64, founds: bool) -> QuorateMember {
    let spec = QuorateMemberSpec { cluster: cluster.name_any(), number, founds };
    let mut member = QuorateMember::new(name, spec);
    member.metadata = super::metadata(cluster, name.to_owned(), Owner::Cluster(cluster));
    member.metadata.labels.get_or_insert_default().extend(super::member_labels(name));
    member
}
