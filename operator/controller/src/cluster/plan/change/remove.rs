//! Removing a member.

use super::super::leave;
use super::super::view::View;
use super::unchangeable;
use crate::cluster::step::Step;

/// The next step of removing `name`.
pub(super) fn remove(view: &View<'_>, name: &str) -> Option<Step> {
    let Some(seen) = view.seen(name) else { return Some(Step::End) };
    let Some(store) = view.changeable() else { return Some(unchangeable(view)) };
    if seen.is_learner() {
        return Some(leave::remove(store, seen));
    }
    if !seen.is_voter() {
        let reason = view.change().map_or("", |change| &change.reason);
        return Some(leave::clear(view, name, reason).unwrap_or(Step::End));
    }
    let is_surplus = view.voter_count() > view.valid.members;
    // If another voter has stopped serving, that voter goes first: the store then loses one healthy
    // voter less.
    let is_better = seen.is_healthy() && view.unhealthy(name).is_some();
    if !is_surplus || is_better {
        return Some(Step::End);
    }
    Some(leave::remove_voter(view, store, seen))
}
