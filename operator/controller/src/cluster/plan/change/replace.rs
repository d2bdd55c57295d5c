//! Replacing a failed member by a new one.
//!
//! The order: a learner catches up; then the failed voter goes; then the learner gets its vote.
//! With three voters, two of which serve, each step leaves the store with two healthy voters, and
//! two are needed: of three, then of two, then two of three. To promote first would make four
//! voters, of which three must serve, and no more than three would.
//!
//! Until the failed member is removed from the store, it may come back, and the newcomer goes.

use super::super::seen::Seen;
use super::super::view::View;
use super::super::{leave, next, room};
use super::{join, unchangeable};
use crate::cluster::observed::Store;
use crate::cluster::step::Step;

/// The next step of replacing `old` by `new`.
pub(super) fn replace(view: &View<'_>, new: &str, old: &str) -> Option<Step> {
    let Some(store) = view.changeable() else { return Some(unchangeable(view)) };
    match view.seen(old).filter(|seen| seen.is_voter()) {
        Some(failed) => Some(before_removal(view, store, new, failed)),
        None => after_removal(view, store, new, old),
    }
}

fn before_removal(view: &View<'_>, store: &Store, new: &str, failed: &Seen<'_>) -> Step {
    let failure = join::failure(view, new);
    let is_back = failed.is_healthy() && failed.damage().is_none();
    if view.seen(new).is_some_and(Seen::is_voter) {
        // The new member was promoted, but not by this operator.
        leave::remove_voter(view, store, failed)
    } else if let Some(reason) = failure {
        join::take_back(view, new, &reason)
    } else if is_back {
        join::take_back(view, new, &format!("{} is back", failed.name))
    } else if view.voter_count() > view.valid.members {
        join::take_back(view, new, "it is not wanted any more")
    } else if let Some(other) = more_urgent(view, failed) {
        next::begin_replacing(view, new.to_owned(), other, view.next_number())
    } else {
        let joining = room::make(view).or_else(|| join::learner(view, new));
        joining.unwrap_or_else(|| leave::remove_voter(view, store, failed))
    }
}

/// Another voter that has failed, while this one still serves and is needed for the majority.
fn more_urgent<'v, 'a>(view: &'v View<'a>, failed: &Seen<'_>) -> Option<&'v Seen<'a>> {
    let is_needed = view.healthy_count(failed.name) <= view.voter_count() / 2;
    next::failed(view).filter(|other| is_needed && other.name != failed.name)
}

fn after_removal(view: &View<'_>, store: &Store, new: &str, old: &str) -> Option<Step> {
    let Some(seen) = view.seen(new) else { return Some(clear(view, old)) };
    if seen.is_voter() {
        let is_labelled = seen.member.pod.as_ref().is_none_or(|pod| pod.is_labelled_voter);
        return is_labelled.then(|| clear(view, old));
    }
    if let Some(reason) = join::failure(view, new) {
        return Some(join::take_back(view, new, &reason));
    }
    if view.voter_count() >= view.valid.members {
        return Some(join::take_back(view, new, "it is not wanted any more"));
    }
    // The rest of the old member is cleared away after a second replacement, too.
    if let Some(failed) = next::failed(view) {
        return Some(next::begin_replacing(view, new.to_owned(), failed, view.next_number()));
    }
    let joining = room::make(view).or_else(|| join::learner(view, new));
    Some(joining.unwrap_or_else(|| join::promote(view, store, seen)))
}

fn clear(view: &View<'_>, old: &str) -> Step {
    let reason = view.change().map_or("", |change| &change.reason);
    leave::clear(view, old, reason).unwrap_or(Step::End)
}
