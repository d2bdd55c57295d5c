//! Specs that are refused, and specs that are completed.

use quorate_crd::duration::Span;
use quorate_crd::quantity::Quantity;
use quorate_crd::v1alpha1::QuorateClusterSpec;

use super::*;

fn cluster(spec: QuorateClusterSpec) -> QuorateCluster {
    let mut cluster = QuorateCluster::new("main", spec);
    cluster.metadata.namespace = Some("team".to_owned());
    cluster.metadata.uid = Some("17".to_owned());
    cluster
}

#[test]
fn an_empty_spec_is_completed() {
    let valid = validate(&cluster(QuorateClusterSpec::default()), "0.3.1").unwrap();
    assert_eq!(valid.version.to_string(), "0.3.1");
    assert_eq!(valid.members, 3);
    assert_eq!(valid.volume_bytes, 10 << 30);
    assert_eq!(valid.token(), "team-main-17");
    assert_eq!(valid.replace_after, SignedDuration::from_mins(5));
}

#[test]
fn all_reasons_are_told_at_once() {
    let mut spec = QuorateClusterSpec { members: 4, ..QuorateClusterSpec::default() };
    spec.storage.size = Quantity::from("much");
    spec.repair.replace_after = Span::from("soon");
    spec.version = Some("five".to_owned());
    let refusals = validate(&cluster(spec), "0.3.1").unwrap_err();
    let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "repair.replaceAfter: \"soon\" is not a span of time: write it as in 90m or 1h30m",
            "members: must be 1, 3, 5 or 7, and not 4",
            "storage.size: \"much\" is not an amount of bytes: write it as in 10Gi",
            "version: \"five\" is not a version: write it as in 0.1.0",
        ]
    );
}

#[test]
fn a_version_is_at_most_one_minor_version_newer_than_the_operator() {
    for (asked, is_too_new) in
        [("0.1.0", false), ("0.3.9", false), ("0.4.0", false), ("0.5.0", true), ("1.0.0", true)]
    {
        let version = Some(asked.to_owned());
        let spec = QuorateClusterSpec { version, ..QuorateClusterSpec::default() };
        let valid = validate(&cluster(spec), "0.3.1").unwrap();
        assert_eq!(valid.is_too_new(), is_too_new, "{asked}");
    }
}

#[test]
fn a_member_has_one_name() {
    let valid = validate(&cluster(QuorateClusterSpec::default()), "0.3.1").unwrap();
    assert_eq!(valid.number("main-12"), Some(12));
    for other in ["main", "main-", "main-0", "main-012", "main--1", "other-1", "main-1-1"] {
        assert_eq!(valid.number(other), None, "{other}");
    }
}
