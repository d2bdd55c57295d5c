//! The charts on a real API server without nodes: the objects that it accepts, and the life of a
//! release.

use std::path::Path;
use std::time::Duration;

use quorate_test_charts::helm::NAMESPACE;
use quorate_test_charts::{Chart, Helm};
use quorate_test_support::control_plane::ControlPlane;
use quorate_test_support::{assert_contains, wait};

/// How long a controller of Kubernetes may take on a busy machine.
const CONTROLLER_TIME: Duration = Duration::from_secs(60);

/// Sequential, because all steps share one control plane.
#[test]
fn an_api_server_accepts_the_charts() {
    let suite = "charts on an API server";
    let Some(helm) = Helm::find(suite) else { return };
    let Some(plane) = ControlPlane::start(suite) else { return };
    for namespace in [NAMESPACE, "team-a", "team-b"] {
        plane.kubectl(&["create", "namespace", namespace], "").expect("kubectl create");
    }
    a_release_is_upgraded_and_rolled_back(&helm, &plane);
    a_scaled_cluster_is_upgraded_and_rolled_back(&helm, &plane);
    value_sets_are_accepted(&helm, &plane);
    roles_reach_the_users_of_a_namespace(&plane);
    definitions_outlive_a_release(&helm, &plane);
}

fn install<'a>(release: &'a str, chart: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["upgrade", "--install", release, chart, "--namespace", NAMESPACE];
    args.extend(more);
    args
}

fn a_release_is_upgraded_and_rolled_back(helm: &Helm, plane: &ControlPlane) {
    let chart = Chart::operator().folder().display().to_string();
    let level = || {
        let path = "jsonpath={.spec.template.spec.containers[0].args}";
        let get = ["get", "deployment", "first-quorate-operator", "-n", NAMESPACE, "-o", path];
        plane.kubectl(&get, "").expect("kubectl get")
    };
    helm.run_on(plane, &install("first", &chart, &[])).expect("helm install");
    assert_contains(&level(), &["--log-level=info"]);
    let debug = ["--set", "logLevel=debug"];
    helm.run_on(plane, &install("first", &chart, &debug)).expect("helm upgrade");
    assert_contains(&level(), &["--log-level=debug"]);
    helm.run_on(plane, &["rollback", "first", "1", "--namespace", NAMESPACE])
        .expect("helm rollback");
    assert_contains(&level(), &["--log-level=info"]);
}

/// Helm leaves the number of members to `kubectl scale`.
fn a_scaled_cluster_is_upgraded_and_rolled_back(helm: &Helm, plane: &ControlPlane) {
    let chart = Chart::cluster().folder().display().to_string();
    let spec = |path: &str| {
        let path = format!("jsonpath={{.spec.{path}}}");
        let get = ["get", "quoratecluster", "scaled", "-n", NAMESPACE, "-o", &path];
        plane.kubectl(&get, "").expect("kubectl get")
    };
    helm.run_on(plane, &install("scaled", &chart, &[])).expect("helm install");
    assert_eq!(spec("members"), "3");
    let scale = ["scale", "quoratecluster", "scaled", "--replicas", "5", "-n", NAMESPACE];
    plane.kubectl(&scale, "").expect("kubectl scale");
    let debug = ["--set", "settings.flags.log-level=debug"];
    helm.run_on(plane, &install("scaled", &chart, &debug)).expect("helm upgrade");
    assert_eq!((spec("members"), spec("settings.flags.log-level")), ("5".into(), "debug".into()));
    helm.run_on(plane, &["rollback", "scaled", "1", "--namespace", NAMESPACE])
        .expect("helm rollback");
    assert_eq!((spec("members"), spec("settings.flags.log-level")), ("5".into(), String::new()));
    helm.run_on(plane, &["uninstall", "scaled", "--namespace", NAMESPACE]).expect("helm uninstall");
}

/// Objects that the API server would store: with all rules of their schemas, and no unknown field.
fn value_sets_are_accepted(helm: &Helm, plane: &ControlPlane) {
    for chart in [Chart::operator(), Chart::cluster()] {
        for set in chart.value_sets().iter().filter(|set| set.refusal.is_none()) {
            let path: &Path = &set.path;
            let objects = helm.template(&chart, Some(path)).expect("helm template");
            let apply =
                "apply --server-side --force-conflicts --dry-run=server --validate=strict -f -";
            let args: Vec<&str> = apply.split(' ').collect();
            plane.kubectl(&args, &objects).expect(&path.display().to_string());
        }
    }
}

fn roles_reach_the_users_of_a_namespace(plane: &ControlPlane) {
    for role in ["edit", "view"] {
        let bind = ["create", "rolebinding", role, "--clusterrole", role, "--user", role];
        let bind = [&bind[..], &["--namespace", NAMESPACE]].concat();
        plane.kubectl(&bind, "").expect("kubectl create rolebinding");
    }
    let may = |user: &str, verb: &str, resource: &str, part: &str| {
        let part = format!("--subresource={part}");
        let ask = ["auth", "can-i", verb, resource, &part, "--as", user, "--namespace", NAMESPACE];
        plane.kubectl(&ask, "").is_ok
    };
    for (user, verb, resource, part) in [
        ("edit", "create", "quorateclusters.quorate.dev", ""),
        ("edit", "patch", "quorateclusters.quorate.dev", "scale"),
        ("edit", "get", "quoratemembers.quorate.dev", ""),
        ("view", "list", "quorateclusters.quorate.dev", ""),
    ] {
        // A controller adds up the roles.
        let what = format!("{user} may {verb} {resource} {part}");
        wait::until(&what, CONTROLLER_TIME, || may(user, verb, resource, part).then_some(()));
    }
    for (user, verb, resource, part) in [
        ("edit", "delete", "quoratemembers.quorate.dev", ""),
        ("edit", "patch", "quorateclusters.quorate.dev", "status"),
        ("view", "create", "quorateclusters.quorate.dev", ""),
    ] {
        assert!(!may(user, verb, resource, part), "{user} may {verb} {resource} {part}");
    }
}

/// The definitions, and with them all clusters, stay when a release is uninstalled. Another release
/// takes them over only when told to.
fn definitions_outlive_a_release(helm: &Helm, plane: &ControlPlane) {
    let chart = Chart::operator().folder().display().to_string();
    let cluster = Chart::cluster().folder().display().to_string();
    helm.run_on(plane, &install("main", &cluster, &[])).expect("helm install of a cluster");
    helm.run_on(plane, &["uninstall", "first", "--namespace", NAMESPACE]).expect("helm uninstall");
    let get = ["get", "quoratecluster", "main", "--namespace", NAMESPACE, "--output", "name"];
    plane.kubectl(&get, "").expect("the cluster after the operator is uninstalled");
    let refusal = helm.run_on(plane, &install("second", &chart, &[]));
    let words = refusal.expect_refusal("the definitions of another release");
    assert_contains(&words, &["quorateclusters.quorate.dev", "meta.helm.sh/release-name", "first"]);
    let take = ["--take-ownership"];
    helm.run_on(plane, &install("second", &chart, &take)).expect("helm install --take-ownership");
    plane.kubectl(&get, "").expect("the cluster under another release");
    helm.run_on(plane, &install("second", &chart, &[])).expect("helm upgrade after that");
}
