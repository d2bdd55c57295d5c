//! The objects that the operator's chart installs.

use std::path::Path;

use quorate_test_charts::yaml::of_kind;
use quorate_test_charts::{Chart, Helm};
use serde_json::{Value, json};

fn rendered(values: Option<&str>) -> Option<Vec<Value>> {
    let helm = Helm::find("the operator's chart")?;
    let chart = Chart::operator();
    let path = values.map(|name| chart.values(name));
    Some(helm.objects(&chart, path.as_deref().map(Path::new)))
}

fn pod(objects: &[Value]) -> &Value {
    &of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
}

#[test]
fn two_operators_run_apart_and_one_stays_at_work() {
    let Some(objects) = rendered(None) else { return };
    let deployment = of_kind(&objects, "Deployment")[0];
    assert_eq!(deployment["spec"]["replicas"], 2);
    let budget = of_kind(&objects, "PodDisruptionBudget")[0];
    assert_eq!(budget["spec"]["minAvailable"], 1);
    let selected = &budget["spec"]["selector"]["matchLabels"];
    assert_eq!(selected, &deployment["spec"]["selector"]["matchLabels"]);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for (name, value) in selected.as_object().expect("labels") {
        assert_eq!(&labels[name], value, "{name}");
    }
    let spread = &pod(&objects)["affinity"]["podAntiAffinity"];
    let preferred = &spread["preferredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(preferred["podAffinityTerm"]["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(&preferred["podAffinityTerm"]["labelSelector"]["matchLabels"], selected);
    assert_eq!(pod(&objects)["priorityClassName"], "system-cluster-critical");
}

#[test]
fn one_operator_has_no_budget_that_would_hold_back_a_drain() {
    let Some(objects) = rendered(Some("single")) else { return };
    assert!(of_kind(&objects, "PodDisruptionBudget").is_empty());
    let pod = pod(&objects);
    assert_eq!(pod["priorityClassName"], Value::Null);
    let image = "registry.example.org:5000/mirror/quorate-operator:0.1.0-fix.1";
    assert_eq!(pod["containers"][0]["image"], image);
    let args = pod["containers"][0]["args"].as_array().expect("arguments");
    assert!(args.contains(&json!("--image=registry.example.org:5000/mirror/quorate")), "{args:?}");
}

/// The restricted profile of Kubernetes, and a root file system that nothing can write to.
#[test]
fn every_pod_is_restricted() {
    let Some(helm) = Helm::find("pods of the charts") else { return };
    let operator = helm.objects(&Chart::operator(), None);
    let cluster = Chart::cluster();
    let cluster = helm.objects(&cluster, Some(&cluster.values("kubernetes")));
    let pods: Vec<&Value> = [pod(&operator)]
        .into_iter()
        .chain(of_kind(&operator, "Pod").into_iter().map(|pod| &pod["spec"]))
        .chain(of_kind(&cluster, "Pod").into_iter().map(|pod| &pod["spec"]))
        .collect();
    assert_eq!(pods.len(), 3);
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for list in ["containers", "initContainers"] {
            for container in pod[list].as_array().into_iter().flatten() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{container}");
                assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{container}");
            }
        }
    }
}

#[test]
fn rights_are_narrow() {
    for values in [None, Some("namespaced")] {
        let Some(objects) = rendered(values) else { return };
        for kind in ["Role", "ClusterRole"] {
            for role in of_kind(&objects, kind) {
                assert!(!role["rules"].to_string().contains('*'), "{role}");
            }
        }
    }
}

#[test]
fn an_operator_of_namespaces_has_no_rights_elsewhere() {
    let Some(objects) = rendered(Some("namespaced")) else { return };
    assert!(of_kind(&objects, "CustomResourceDefinition").is_empty());
    let anywhere: Vec<&Value> =
        of_kind(&objects, "ClusterRole").iter().map(|role| &role["rules"]).collect();
    let look_at_nodes = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] }]);
    assert_eq!(anywhere, [&look_at_nodes]);
    let namespaces: Vec<&Value> =
        of_kind(&objects, "Role").iter().map(|role| &role["metadata"]["namespace"]).collect();
    assert_eq!(namespaces, ["stores", "team-a", "team-b"]);
    let args = pod(&objects)["containers"][0]["args"].as_array().expect("arguments");
    assert!(args.contains(&json!("--namespaces=team-a,team-b")), "{args:?}");
}

#[test]
fn definitions_stay_unless_they_are_given_up() {
    let Some(kept) = rendered(None) else { return };
    let Some(given_up) = rendered(Some("full")) else { return };
    for (objects, policy) in [(kept, json!("keep")), (given_up, Value::Null)] {
        let definitions = of_kind(&objects, "CustomResourceDefinition");
        let names: Vec<&Value> =
            definitions.iter().map(|crd| &crd["spec"]["names"]["kind"]).collect();
        assert_eq!(names, ["QuorateCluster", "QuorateMember"]);
        for definition in definitions {
            assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], policy);
        }
    }
}
