//! Updating a member: its pod is made anew with the present settings and version.

use super::super::view::View;
use super::super::{care, disruption, leave, next, wait};
use super::unchangeable;
use crate::cluster::step::Step;

/// The next step of updating `name`.
pub(super) fn update(view: &View<'_>, name: &str) -> Option<Step> {
    let Some(seen) = view.seen(name) else { return Some(Step::End) };
    let is_node_lost = seen.member.pod.as_ref().is_some_and(|pod| pod.is_node_lost);
    let is_lost = is_node_lost && view.failure(seen).is_some();
    let was_removed = view.store().is_some() && !seen.is_voter();
    // A replacement mends the damage that no restart mends. If a member does not come back, and has
    // no such damage, the present settings may be the cause. A new member would suffer from them,
    // too.
    if seen.damage().is_some() || is_lost || was_removed {
        return Some(Step::End);
    }
    let Some(pod) = seen.member.pod.as_ref().filter(|pod| !pod.is_deleted) else {
        return Some(wait(view, format!("{name} restarts")));
    };
    if !seen.is_healthy() {
        return Some(wait(view, format!("{name} comes back")));
    }
    // A failed or missing member comes first, because this member still serves.
    if !view.is_stale(seen) || next::failed(view).is_some() || view.is_pair() {
        return Some(Step::End);
    }
    if view.changeable().is_none() {
        return Some(unchangeable(view));
    }
    if let Some(other) = view.unhealthy(name) {
        return Some(wait(view, format!("{} must serve before {name} restarts", other.name)));
    }
    let raised = disruption::raise(view, view.voter_count());
    let moved = raised.or_else(|| leave::move_leader(view, seen));
    Some(moved.unwrap_or_else(|| care::delete_pod(seen, &pod.uid)))
}
