//! Hibernation: all pods are deleted. Volumes, records and certificates stay.

use quorate_crd::v1alpha1::ChangeKind;

use super::view::View;
use super::{care, next, wait};
use crate::cluster::step::Step;

/// Stops all members, the leader last. It takes the place of any other change. When the members are
/// awake again, that change goes on from the state that it left.
pub(super) fn hibernate(view: &View<'_>) -> Option<Step> {
    let kind = view.change().map(|change| change.kind);
    let has_pods = view.members.iter().any(|seen| seen.member.pod.is_some());
    if kind != Some(ChangeKind::Hibernate) {
        let is_due = has_pods || kind.is_some();
        return Some(if is_due {
            next::begin_for_all(view, ChangeKind::Hibernate, "asked for")
        } else {
            wait(view, "hibernated on request")
        });
    }
    if !has_pods {
        return Some(Step::End);
    }
    let mut running: Vec<_> = view
        .members
        .iter()
        .filter_map(|seen| Some((seen, seen.member.pod.as_ref().filter(|pod| !pod.is_deleted)?)))
        .collect();
    running.sort_by_key(|(seen, _)| view.leads(seen));
    let first = running.first().map(|(seen, pod)| care::delete_pod(seen, &pod.uid));
    Some(first.unwrap_or_else(|| wait(view, "the last pods end")))
}
