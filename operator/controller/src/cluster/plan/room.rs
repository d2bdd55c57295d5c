//! Room for a replacement. Members spread over hosts by their pods: as long as the failed member
//! has a pod, its host counts as taken, and the newcomer would share one with another member.

use super::seen::Seen;
use super::view::View;
use super::{care, wait};
use crate::cluster::observed::Pod;
use crate::cluster::step::Step;

/// Deletes the pod of a failed member when the pod of its replacement is due, and waits for its
/// end. It is made again right after that of the replacement, for the member may still come back.
pub(super) fn make(view: &View<'_>) -> Option<Step> {
    let (_, failed) = due(view)?;
    let pod = in_the_way(view, failed)?;
    Some(if pod.is_deleted {
        wait(view, format!("the pod of {} ends", failed.name))
    } else {
        care::delete_pod(failed, &pod.uid)
    })
}

/// Whether the pod of a member is not made yet, for the sake of room.
pub(super) fn is_awaited(view: &View<'_>, seen: &Seen<'_>) -> bool {
    due(view).is_some_and(|(newcomer, failed)| {
        let waits = newcomer.name == seen.name && in_the_way(view, failed).is_some();
        // Without a majority, the failed member may be the one that is needed.
        waits || (failed.name == seen.name && view.store().is_some())
    })
}

/// A newcomer whose pod is due, and the failed member.
fn due<'v, 'a>(view: &'v View<'a>) -> Option<(&'v Seen<'a>, &'v Seen<'a>)> {
    let change = view.change()?;
    let failed = view.seen(change.replaces.as_deref()?)?;
    let newcomer = view.seen(&change.member)?;
    let is_due = newcomer.is_learner() && newcomer.member.id.is_some();
    (is_due && newcomer.member.pod.is_none()).then_some((newcomer, failed))
}

/// The pod of the failed member, if its host counts as taken. On a lost node nothing is placed. A
/// pod that does not end in time is not waited for: a lost disk may hold it. A member whose claim
/// is deleted may serve until it is replaced.
fn in_the_way<'v>(view: &View<'_>, failed: &'v Seen<'_>) -> Option<&'v Pod> {
    let pod = failed.member.pod.as_ref()?;
    let is_overdue = pod.ends_by.is_some_and(|at| at <= view.now);
    (!pod.is_node_lost && !is_overdue && !failed.is_healthy()).then_some(pod)
}
