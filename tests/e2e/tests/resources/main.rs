//! The resources of the operator on a real API server: every rule admits good objects and refuses
//! bad ones with words, defaults are filled in, and kubectl can scale, list and explain.
//!
//! All parts share one control plane, because its start takes ten seconds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rules;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use quorate_crd::definition::definitions;
use quorate_crd::v1alpha1::{FLAGS, QuorateClusterSpec};
use quorate_test_support::control_plane::{ControlPlane, Said};
use quorate_test_support::{assert_contains, program, repository, wait};
use serde_json::{Value, json};

const CLUSTER: &str = "quorateclusters.quorate.dev";

#[test]
fn the_api_server_keeps_the_rules_of_the_resources() {
    let Some(control_plane) = ControlPlane::start("resources of the operator") else { return };
    install(&control_plane);
    every_rule_admits_and_refuses(&control_plane);
    defaults_are_filled_in(&control_plane);
    the_schema_refuses_what_needs_no_rule(&control_plane);
    kubectl_scales_within_the_rules(&control_plane);
    kubectl_lists_and_explains(&control_plane);
}

/// Runs kubectl, which must succeed.
#[track_caller]
fn kubectl(control_plane: &ControlPlane, arguments: &[&str], input: &str) -> String {
    let Said { is_ok, out, err } = control_plane.kubectl(arguments, input);
    assert!(is_ok, "kubectl {arguments:?}\n{input}\n{err}");
    out
}

/// Runs kubectl, which must fail with this text.
#[track_caller]
fn refused(control_plane: &ControlPlane, arguments: &[&str], input: &str, reason: &str) {
    let Said { is_ok, out, err } = control_plane.kubectl(arguments, input);
    assert!(!is_ok, "admitted: kubectl {arguments:?}\n{input}\n{out}");
    assert!(err.contains(reason), "kubectl {arguments:?}\n{input}\n{reason:?} is not in:\n{err}");
}

/// Installs the definitions from their files. kubectl refuses fields that the API server does not
/// know.
fn install(control_plane: &ControlPlane) {
    let files = repository().join("deploy/crds");
    kubectl(control_plane, &["apply", "--server-side", "-f", files.to_str().unwrap()], "");
    let wait = ["wait", "--for=condition=established", "--timeout=60s", "crd", "--all"];
    kubectl(control_plane, &wait, "");
    // Its endpoint is served a moment after the definition is established.
    let served = || control_plane.kubectl(&["get", CLUSTER], "").is_ok.then_some(());
    wait::until("the resources are served", Duration::from_secs(30), served);
}

fn every_rule_admits_and_refuses(control_plane: &ControlPlane) {
    let rules: Vec<rules::Rule> = definitions()
        .iter()
        .map(|definition| definition.metadata.name.clone().unwrap())
        .map(|name| kubectl(control_plane, &["get", "crd", &name, "-o", "json"], ""))
        .flat_map(|text| rules::of(&serde_json::from_str(&text).unwrap()))
        .collect();
    let cases = rules::cases();
    for case in &cases {
        let tested = rules.iter().filter(|rule| case.is_of(rule)).count();
        assert_eq!(tested, 1, "{} {}: {:?} is not one rule", case.kind, case.path, case.message);
        check(control_plane, case);
    }
    let is_untested = |rule: &&rules::Rule| !cases.iter().any(|case| case.is_of(rule));
    let untested: Vec<_> = rules.iter().filter(is_untested).collect();
    assert!(untested.is_empty(), "rules without a case: {untested:#?}");
}

/// Checks that the rule of a case admits one object and refuses another one.
fn check(control_plane: &ControlPlane, case: &rules::Case) {
    let object = |part: &Value| case.object(part).to_string();
    let Some(old) = &case.old else {
        let create = ["create", "--dry-run=server", "-f", "-"];
        kubectl(control_plane, &create, &object(&case.accepted));
        refused(control_plane, &create, &object(&case.refused), case.message);
        return;
    };
    kubectl(control_plane, &["create", "-f", "-"], &object(old));
    let name = case.name();
    let mut patch = vec!["patch", case.kind, &name, "--type=merge", "--patch-file=/dev/stdin"];
    if old.get("status").is_some() {
        patch.push("--subresource=status");
        kubectl(control_plane, &patch, &old.to_string());
    }
    patch.push("--dry-run=server");
    kubectl(control_plane, &patch, &case.accepted.to_string());
    refused(control_plane, &patch, &case.refused.to_string(), case.message);
    kubectl(control_plane, &["delete", case.kind, &name], "");
}

/// Three lines of spec suffice, and so does an empty one.
fn defaults_are_filled_in(control_plane: &ControlPlane) {
    for (name, spec, members) in
        [("three", "{members: 3}", 3), ("one", "{members: 1}", 1), ("none", "{}", 3)]
    {
        let text = format!(
            "apiVersion: quorate.dev/v1alpha1\nkind: QuorateCluster\n\
             metadata: {{name: {name}}}\nspec: {spec}\n"
        );
        kubectl(control_plane, &["create", "-f", "-"], &text);
        let found = kubectl(control_plane, &["get", CLUSTER, name, "-o", "json"], "");
        let found: Value = serde_json::from_str(&found).unwrap();
        let expected = QuorateClusterSpec { members, ..QuorateClusterSpec::default() };
        assert_eq!(found["spec"], serde_json::to_value(expected).unwrap(), "{spec}");
        kubectl(control_plane, &["delete", CLUSTER, name], "");
    }
}

/// A refusal by the schema without a rule names the field, too.
fn the_schema_refuses_what_needs_no_rule(control_plane: &ControlPlane) {
    let same = json!([{ "name": "app" }, { "name": "app" }]);
    for (spec, reason) in [
        (json!({ "members": 9 }), "spec.members in body should be less than or equal to 7"),
        (json!({ "members": -1 }), "spec.members in body should be greater than or equal to 1"),
        (json!({ "replicas": 3 }), "unknown field \"spec.replicas\""),
        (json!({ "clients": same }), "spec.clients[1]: Duplicate value"),
        (json!({ "storage": { "onDelete": "Keep" } }), "supported values: \"Retain\", \"Delete\""),
        (json!({ "networkPolicy": { "clients": [{}] } }), "spec.networkPolicy.clients[0]"),
    ] {
        let object = rules::cluster(&json!({ "spec": spec })).to_string();
        refused(control_plane, &["create", "--dry-run=server", "-f", "-"], &object, reason);
    }
}

fn kubectl_scales_within_the_rules(control_plane: &ControlPlane) {
    kubectl(control_plane, &["create", "-f", "-"], &rules::cluster(&json!({})).to_string());
    let reason = "members must be odd, so 1, 3, 5 or 7";
    refused(control_plane, &["scale", CLUSTER, "main", "--replicas=4"], "", reason);
    let members = || {
        let path = ["get", CLUSTER, "main", "-o", "jsonpath={.spec.members}"];
        kubectl(control_plane, &path, "")
    };
    assert_eq!(members(), "3");
    kubectl(control_plane, &["scale", CLUSTER, "main", "--replicas=5"], "");
    assert_eq!(members(), "5");
}

fn kubectl_lists_and_explains(control_plane: &ControlPlane) {
    let status = json!({ "status": {
        "ready": "3/3", "leader": "main-2", "version": "0.1.0", "phase": "Ready",
        "quorum": { "text": "3 of 3, can lose 1" },
    }});
    let status = status.to_string();
    let patch = ["patch", CLUSTER, "main", "--subresource=status", "--type=merge", "-p", &status];
    kubectl(control_plane, &patch, "");
    let list = kubectl(control_plane, &["get", "qc"], "");
    let columns = ["NAME", "READY", "QUORUM", "LEADER", "VERSION", "STATUS", "AGE"];
    assert!(list.lines().next().unwrap().split_whitespace().eq(columns), "{list}");
    assert_contains(&list, &["main", "3/3", "3 of 3, can lose 1", "main-2", "0.1.0", "Ready"]);
    for (field, text) in [
        ("quorateclusters", "A replicated key-value store with the API of etcd v3."),
        ("quorateclusters.spec.members", "How many members vote: 1, 3, 5 or 7."),
        ("quorateclusters.spec.storage.onDelete", "The fate of the volumes"),
        ("quorateclusters.status.change", "the lock that admits one change at a time"),
        ("quoratemembers.spec.founds", "Whether the member founds the cluster."),
    ] {
        // The API server publishes the schemas a moment after it serves the resources.
        let explained = || {
            let said = control_plane.kubectl(&["explain", field], "");
            // The text is broken into lines.
            let words = said.out.split_whitespace().collect::<Vec<_>>().join(" ");
            words.contains(text).then_some(())
        };
        wait::until(&format!("{field} is explained"), Duration::from_secs(30), explained);
    }
}

/// Every flag that the resources allow is a flag of the store.
#[test]
fn the_store_has_the_flags_that_the_resources_allow() {
    let help = Command::new(program::quorate()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words: BTreeSet<&str> = help.split_whitespace().collect();
    for flag in FLAGS {
        assert!(words.contains(format!("--{flag}").as_str()), "--{flag} is not in:\n{help}");
    }
}
