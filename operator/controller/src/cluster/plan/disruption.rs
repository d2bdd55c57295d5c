//! The disruption budget: how many voters must be available, so that Kubernetes may evict others.
//!
//! It is raised before a step makes the cluster vulnerable, and lowered after the change.

use super::view::View;
use super::wait;
use crate::cluster::step::Step;

/// The smallest number of available voters while nothing changes: one may be evicted, and only
/// where that leaves a majority.
pub(super) fn at_rest(voters: usize) -> usize {
    let majority = voters / 2 + 1;
    majority.max(voters.saturating_sub(1))
}

/// Sets the budget while nothing changes.
pub(super) fn rest(view: &View<'_>) -> Option<Step> {
    view.store()?;
    let wanted = count(at_rest(view.voter_count()));
    let is_due = match view.observed.min_available {
        Some(now) => view.change().is_none() && now != wanted,
        None => true,
    };
    let has_failed = view.observed.failures.budget.is_some();
    (is_due && !has_failed).then_some(Step::LimitDisruption { min_available: wanted })
}

/// Raises the budget to `voters` before a step. If that is refused, only the replacement of a
/// member that does not serve goes on: an eviction can do as much harm without the replacement.
pub(super) fn raise(view: &View<'_>, voters: usize) -> Option<Step> {
    let wanted = count(voters);
    let is_due = view.observed.min_available.is_none_or(|now| now < wanted);
    if is_due && view.observed.failures.budget.is_some() {
        let failed = view.change().and_then(|change| view.seen(change.replaces.as_deref()?));
        let goes_on = failed.is_some_and(|failed| !failed.is_healthy());
        return (!goes_on).then(|| wait(view, "the disruption budget cannot be raised"));
    }
    is_due.then_some(Step::LimitDisruption { min_available: wanted })
}

fn count(voters: usize) -> i32 {
    i32::try_from(voters).unwrap_or(i32::MAX)
}
