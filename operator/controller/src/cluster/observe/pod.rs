//! The facts about a member that its pod tells.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{self, ContainerStatus};
use kube::ResourceExt as _;
use quorate_crd::names::{ANNOTATION_SETTINGS, LABEL_ROLE, ROLE_VOTER};

use super::super::build::pod::{CONTAINER, LABEL_VERSION};
use super::super::observed::Pod;

/// The exit statuses with which the store's process tells that a restart alone cannot help, and
/// their codes. The store has the same table (`core/src/end_reason.rs`), and never changes it.
const EXITS: [(i32, &str); 5] =
    [(10, "removed"), (11, "other-data"), (12, "damaged"), (13, "disk-full"), (14, "newer-format")];

/// Whether Kubernetes says that a pod is ready.
pub(super) fn is_ready(pod: &v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The facts about a member that its pod tells.
pub(super) fn pod(pod: &v1::Pod, lost_nodes: &BTreeSet<String>) -> Pod {
    let text = |part: Option<&String>| part.cloned().unwrap_or_default();
    let status = pod.status.clone().unwrap_or_default();
    let node = text(pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()));
    let containers = status.container_statuses.as_ref();
    let container = containers.and_then(|all| all.iter().find(|one| one.name == CONTAINER));
    let has_ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    Pod {
        uid: pod.uid().unwrap_or_default(),
        settings: text(pod.annotations().get(ANNOTATION_SETTINGS)),
        version: text(pod.labels().get(LABEL_VERSION)),
        is_labelled_voter: pod.labels().get(LABEL_ROLE).is_some_and(|role| role == ROLE_VOTER),
        is_ready: is_ready(pod),
        is_deleted: pod.metadata.deletion_timestamp.is_some(),
        ends_by: pod.metadata.deletion_timestamp.as_ref().map(|at| at.0),
        has_ended,
        is_node_lost: lost_nodes.contains(&node),
        exit: container.and_then(exit),
        message: message(&status, container),
        node,
    }
}

/// The reason code of the store's last exit.
fn exit(container: &ContainerStatus) -> Option<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let status = ends.next()?.exit_code;
    let (_, code) = EXITS.iter().find(|(known, _)| *known == status)?;
    Some((*code).to_owned())
}

/// Why a pod does not run, for people.
fn message(status: &v1::PodStatus, container: Option<&ContainerStatus>) -> String {
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        return match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason,
        };
    }
    let conditions = status.conditions.iter().flatten();
    let mut unscheduled =
        conditions.filter(|one| one.type_ == "PodScheduled" && one.status == "False");
    let message = unscheduled.next().and_then(|condition| condition.message.clone());
    message.or_else(|| status.message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn exit_of(container: &serde_json::Value) -> Option<String> {
        let mut all = json!({ "name": CONTAINER, "ready": false, "image": "", "imageID": "",
            "restartCount": 1 });
        all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        exit(&serde_json::from_value(all).unwrap())
    }

    /// The store's own table (`core/src/end_reason.rs`), as text: the operator links nothing of it.
    #[test]
    fn the_exit_statuses_are_those_of_the_store() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.join("../../server/core/src/end_reason.rs");
        let table = std::fs::read_to_string(path).unwrap();
        for (status, code) in EXITS {
            assert!(table.contains(&format!("(\"{code}\", {status})")), "{code}: {status}");
        }
    }

    #[test]
    fn the_reason_is_that_of_the_last_exit() {
        let ended = |status: i32| json!({ "terminated": { "exitCode": status } });
        let running = json!({ "running": {} });
        for (code, container) in [
            (Some("removed"), json!({ "state": running, "lastState": ended(10) })),
            (Some("damaged"), json!({ "state": ended(12), "lastState": ended(10) })),
            (Some("other-data"), json!({ "state": { "waiting": {} }, "lastState": ended(11) })),
            (None, json!({ "state": ended(137), "lastState": ended(12) })),
            (None, json!({ "lastState": ended(1) })),
            (None, json!({ "lastState": ended(0) })),
            (None, json!({})),
        ] {
            assert_eq!(exit_of(&container).as_deref(), code, "{container}");
        }
    }

    #[test]
    fn a_pod_tells_why_it_does_not_run() {
        let status = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/3 nodes" } ] });
        let status: v1::PodStatus = serde_json::from_value(status).unwrap();
        assert_eq!(message(&status, None), "0/3 nodes");
        assert_eq!(message(&v1::PodStatus::default(), None), "");
    }
}
