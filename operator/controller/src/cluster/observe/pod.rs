//! What a pod tells about its member.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{self, ContainerStatus};
use kube::ResourceExt as _;
use quorate_crd::names::{ANNOTATION_SETTINGS, LABEL_ROLE, ROLE_VOTER};

use super::super::build::pod::{CONTAINER, LABEL_VERSION};
use super::super::observed::Pod;

/// What the store's last log line has in front of its reason code.
const REASON: &str = "reason=";

/// Whether Kubernetes says that a pod is ready.
pub(super) fn is_ready(pod: &v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// What a pod tells about its member.
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
    let ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let mut messages = ends.filter_map(|end| end.message.as_ref());
    let message = messages.next()?;
    let (_, code) = message.rsplit_once(REASON)?;
    let is_code = |letter: char| letter.is_ascii_lowercase() || letter == '-';
    let code: String =
        code.trim_start_matches('"').chars().take_while(|letter| is_code(*letter)).collect();
    (!code.is_empty()).then_some(code)
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
    use serde_json::json;

    use super::*;

    fn exit_of(container: serde_json::Value) -> Option<String> {
        let mut all = json!({ "name": CONTAINER, "ready": false, "image": "", "imageID": "",
            "restartCount": 1 });
        all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        exit(&serde_json::from_value(all).unwrap())
    }

    #[test]
    fn the_reason_code_is_that_of_the_last_line() {
        let message = "ts=1 level=info msg=start reason=disk-full\n\
                       ts=2 level=error msg=\"the member was removed\" reason=removed code=7\n";
        let ended = json!({ "terminated": { "exitCode": 7, "message": message } });
        assert_eq!(exit_of(json!({ "lastState": ended })).as_deref(), Some("removed"));
        let other = json!({ "terminated": { "exitCode": 1, "message": "reason=\"other-data\"" } });
        let both = json!({ "state": other, "lastState": ended });
        assert_eq!(exit_of(both).as_deref(), Some("other-data"));
        let none = json!({ "terminated": { "exitCode": 137, "message": "killed" } });
        assert_eq!(exit_of(json!({ "lastState": none })), None);
        assert_eq!(exit_of(json!({})), None);
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
