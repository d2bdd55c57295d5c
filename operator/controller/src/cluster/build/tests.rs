//! The objects of two clusters, compared with files, and the changes of the hash of the settings.

use std::path::Path;

use quorate_crd::duration::Span;
use quorate_crd::quantity::Quantity;
use quorate_crd::v1alpha1::{
    Compaction, CompactionMode, OnDelete, QuorateClusterSpec, Spread, Toleration,
};
use serde_json::{Value, json};

use super::pod::{Parts, Start};
use super::*;
use crate::context::Defaults;

/// Set to write the files instead of comparing them.
const WRITE: &str = "QUORATE_WRITE_FIXTURES";

pub(crate) fn defaults() -> Defaults {
    Defaults {
        image: "registry.test/quorate".to_owned(),
        version: "0.1.0".to_owned(),
        domain: "cluster.local".to_owned(),
    }
}

pub(crate) fn cluster(spec: QuorateClusterSpec) -> QuorateCluster {
    let mut cluster = QuorateCluster::new("main", spec);
    cluster.metadata.namespace = Some("team".to_owned());
    cluster.metadata.uid = Some("11111111-2222-3333-4444-555555555555".to_owned());
    cluster
}

/// A cluster whose user has set all settings.
fn elaborate() -> QuorateCluster {
    let pairs = |name: &str| [(format!("{name}.test/name"), "value".to_owned())].into();
    let mut spec = QuorateClusterSpec { members: 5, ..QuorateClusterSpec::default() };
    spec.image = Some("mirror.test/store:1".to_owned());
    spec.storage.size = Quantity::from("20Gi");
    spec.storage.class_name = Some("fast".to_owned());
    spec.storage.on_delete = OnDelete::Delete;
    spec.settings.quota = Some(Quantity::from("4Gi"));
    let retention = "5m".to_owned();
    spec.settings.compaction = Some(Compaction { mode: CompactionMode::Periodic, retention });
    spec.settings.flags = [("max-request-bytes".to_owned(), "2097152".to_owned())].into();
    spec.placement.hosts = Spread::Required;
    spec.placement.zones = Spread::Anywhere;
    spec.placement.node_selector = pairs("node");
    spec.placement.tolerations =
        vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }];
    spec.placement.priority_class_name = Some("high".to_owned());
    spec.pod.labels = pairs("label");
    spec.pod.annotations = pairs("annotation");
    spec.pod.image_pull_secrets = vec!["pull".to_owned()];
    spec.network_policy.clients = vec![pairs("client")];
    let mut cluster = cluster(spec);
    cluster.metadata.annotations =
        Some([(names::ANNOTATION_RESTART.to_owned(), "again".to_owned())].into());
    cluster
}

fn objects(cluster: &QuorateCluster, start: Start, is_voter: bool) -> Value {
    let mut member = member::member(cluster, "main-2", 2, false);
    member.metadata.uid = Some("99999999-2222-3333-4444-555555555555".to_owned());
    let bytes = cluster.spec.storage.size.bytes().unwrap();
    let renewed = "2027-01-15T08:00:00Z".to_owned();
    let parts = Parts {
        member: &member,
        version: "0.1.0",
        volume_bytes: bytes,
        start,
        is_voter,
        certificates: Some(&renewed),
    };
    json!({
        "member": member,
        "volume": volume::volume(cluster, "main-2", bytes),
        "pod": pod::pod(cluster, &defaults(), &parts),
        "peers": services::peers(cluster),
        "clients": services::clients(cluster),
        "policy": network::policy(cluster),
        "budget": disruption::budget(cluster, 2),
    })
}

#[track_caller]
fn compare(file: &str, objects: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
    let text = format!("{objects:#}\n");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, expected, "{file}: set {WRITE} if this is intended");
    }
}

#[test]
fn the_objects_of_a_cluster_with_defaults() {
    let cluster = cluster(QuorateClusterSpec::default());
    compare("defaults.json", &objects(&cluster, Start::Found, false));
}

#[test]
fn the_objects_of_a_cluster_with_all_settings() {
    let url = |member: &str| names::peer_url("main", member, "team");
    let members = ["main-1", "main-2"].map(|member| (member.to_owned(), url(member)));
    compare("elaborate.json", &objects(&elaborate(), Start::Join(members.into()), true));
}

#[test]
fn a_policy_that_is_not_wanted_is_not_made() {
    let mut spec = QuorateClusterSpec::default();
    spec.network_policy.enabled = false;
    assert_eq!(network::policy(&cluster(spec)), None);
}

#[test]
fn what_restarts_members_changes_the_hash() {
    let hash = |cluster: &QuorateCluster| pod::settings(cluster, &defaults(), 10 << 30);
    let spec = QuorateClusterSpec::default;
    let plain = hash(&cluster(spec()));
    let mut same = spec();
    same.members = 5;
    same.version = Some("0.2.0".to_owned());
    same.progress_deadline = Span::from("1m");
    assert_eq!(hash(&cluster(same)), plain);
    let mut other = spec();
    other.settings.flags.insert("log-level".to_owned(), "debug".to_owned());
    assert_ne!(hash(&cluster(other)), plain);
    let mut other = spec();
    other.pod.labels.insert("a".to_owned(), "b".to_owned());
    assert_ne!(hash(&cluster(other)), plain);
    let mut restarted = cluster(spec());
    let annotation = (names::ANNOTATION_RESTART.to_owned(), "now".to_owned());
    restarted.metadata.annotations = Some([annotation].into());
    assert_ne!(hash(&restarted), plain);
    assert_ne!(pod::settings(&cluster(spec()), &defaults(), 20 << 30), plain);
}

#[test]
fn a_claim_follows_what_the_user_wants_of_it() {
    let mut spec = QuorateClusterSpec::default();
    let retained = cluster(spec.clone());
    let claim = volume::volume(&retained, "main-1", 10 << 30);
    assert!(!volume::must_change_owner(&retained, &claim));
    assert!(volume::is_of(&retained, &claim));
    spec.storage.on_delete = OnDelete::Delete;
    let deleted = cluster(spec);
    assert!(volume::must_change_owner(&deleted, &claim));
    let mut later = deleted;
    later.metadata.uid = Some("another".to_owned());
    assert!(!volume::is_of(&later, &claim));
}
