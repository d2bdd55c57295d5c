//! Events: the decisions of the operator, for people.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use quorate_crd::v1alpha1::QuorateCluster;

use crate::cluster::step::Step;
use crate::context::Context;
use crate::error::Error;

/// The longest text of an event.
const NOTE_BYTES_MAX: usize = 1000;

/// The name of a step, as in metrics and events.
#[must_use]
pub fn name(step: &Step) -> &'static str {
    match step {
        Step::ApplyObjects => "ApplyObjects",
        Step::IssueCertificates => "IssueCertificates",
        Step::LimitDisruption { .. } => "LimitDisruption",
        Step::Begin { .. } => "Begin",
        Step::End => "End",
        Step::CreateMember { .. } => "CreateMember",
        Step::CreateVolume { .. } => "CreateVolume",
        Step::AddLearner { .. } => "AddLearner",
        Step::RecordId { .. } => "RecordId",
        Step::RecordCluster { .. } => "RecordCluster",
        Step::CreatePod { .. } => "CreatePod",
        Step::LabelVoter { .. } => "LabelVoter",
        Step::DeletePod { .. } => "DeletePod",
        Step::Promote { .. } => "Promote",
        Step::MoveLeader { .. } => "MoveLeader",
        Step::RemoveFromStore { .. } => "RemoveFromStore",
        Step::KeepVolume { .. } => "KeepVolume",
        Step::GrowVolume { .. } => "GrowVolume",
        Step::DeleteMember { .. } => "DeleteMember",
        Step::Wait { .. } => "Wait",
    }
}

/// Tells that a step was done, or why not.
pub async fn step(context: &Context, cluster: &QuorateCluster, step: &Step, error: Option<&Error>) {
    let cluster_name = cluster.metadata.name.as_deref().unwrap_or_default();
    match error {
        None => {
            tracing::info!(cluster = cluster_name, %step, "done");
            publish(context, cluster, EventType::Normal, name(step), step.to_string()).await;
        }
        // Another process or person was faster: the next round sees the change.
        Some(error) if error.is_conflict() => {
            tracing::info!(cluster = cluster_name, %step, error = error.chain(), "not done");
        }
        // The status tells the error already.
        Some(error) if is_told(cluster, &error.chain()) => {
            tracing::debug!(cluster = cluster_name, %step, error = error.chain(), "not done");
        }
        Some(error) => {
            let error = error.chain();
            tracing::warn!(cluster = cluster_name, %step, error, "not done");
            let note = format!("{step}: {error}");
            publish(context, cluster, EventType::Warning, name(step), note).await;
        }
    }
}

/// Whether a condition has a text.
fn is_told(cluster: &QuorateCluster, text: &str) -> bool {
    let mut conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.message.contains(text))
}

/// Tells which conditions have changed.
pub async fn conditions(
    context: &Context,
    cluster: &QuorateCluster,
    before: &[Condition],
    after: &[Condition],
) {
    for condition in changed(before, after) {
        let kind = if is_bad(condition) { EventType::Warning } else { EventType::Normal };
        let note = format!("{}={}: {}", condition.type_, condition.status, condition.message);
        publish(context, cluster, kind, &condition.reason, note).await;
    }
}

/// Whether a person should look.
fn is_bad(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        "Degraded" => condition.status == "True",
        "Progressing" => condition.reason == "DeadlineExceeded",
        // The cluster does not serve yet, or is stopped on request.
        "Available" if ["Founding", "Hibernated"].contains(&condition.reason.as_str()) => false,
        _ => condition.status == "False",
    }
}

fn changed<'a>(before: &'a [Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    let is_new = |condition: &&Condition| {
        let mut same = before.iter().filter(|old| old.type_ == condition.type_);
        same.next()
            .is_none_or(|old| old.status != condition.status || old.reason != condition.reason)
    };
    after.iter().filter(is_new).collect()
}

/// Publishes an event. The operator goes on even if the event is lost.
async fn publish(
    context: &Context,
    cluster: &QuorateCluster,
    type_: EventType,
    reason: &str,
    mut note: String,
) {
    if context.gate.check().is_err() {
        return;
    }
    note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let reference = cluster.object_ref(&());
    if let Err(error) = context.recorder.publish(&event, &reference).await {
        tracing::warn!(%error, reason, "an event is lost");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use quorate_crd::v1alpha1::{QuorateClusterSpec, QuorateClusterStatus};

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    #[test]
    fn a_new_text_alone_is_no_event() {
        let before = [
            condition("Available", "True", "QuorumHealthy", "3 of 3"),
            condition("Degraded", "False", "AsExpected", ""),
        ];
        let after = [
            condition("Available", "True", "QuorumHealthy", "2 of 3"),
            condition("Degraded", "True", "MemberUnhealthy", "main-1"),
            condition("Valid", "True", "AsExpected", ""),
        ];
        let types: Vec<&str> =
            changed(&before, &after).iter().map(|one| one.type_.as_str()).collect();
        assert_eq!(types, ["Degraded", "Valid"]);
    }

    #[test]
    fn what_the_status_tells_is_no_event_again() {
        let mut cluster = QuorateCluster::new("main", QuorateClusterSpec::default());
        let text = "create the Pod main-1: forbidden";
        assert!(!is_told(&cluster, text));
        let told = condition("Progressing", "False", "AsExpected", &format!("waits; {text}"));
        let status = QuorateClusterStatus { conditions: vec![told], ..Default::default() };
        cluster.status = Some(status);
        assert!(is_told(&cluster, text));
        assert!(!is_told(&cluster, "create the Pod main-2: forbidden"));
    }

    #[test]
    fn a_change_that_is_stuck_is_a_warning() {
        for (type_, status, reason, expected) in [
            ("Progressing", "True", "ChangeUnderWay", false),
            ("Progressing", "False", "AsExpected", false),
            ("Progressing", "False", "DeadlineExceeded", true),
            ("Degraded", "True", "MemberUnhealthy", true),
            ("Degraded", "False", "AsExpected", false),
            ("Available", "False", "QuorumLost", true),
            ("Available", "False", "Founding", false),
            ("Available", "False", "Hibernated", false),
            ("Available", "Unknown", "Unreachable", false),
        ] {
            assert_eq!(is_bad(&condition(type_, status, reason, "")), expected, "{type_} {reason}");
        }
    }
}
