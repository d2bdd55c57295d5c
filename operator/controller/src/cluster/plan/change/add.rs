//! Adding a member: a learner first, and a voter once it has caught up.

use super::super::next;
use super::super::view::View;
use super::{join, unchangeable};
use crate::cluster::step::Step;

/// The next step of adding `name`.
pub(super) fn add(view: &View<'_>, name: &str) -> Option<Step> {
    if let Some(seen) = view.seen(name).filter(|seen| seen.is_voter()) {
        let is_labelled = seen.member.pod.as_ref().is_none_or(|pod| pod.is_labelled_voter);
        return is_labelled.then_some(Step::End);
    }
    if let Some(reason) = join::failure(view, name) {
        return Some(join::take_back(view, name, &reason));
    }
    if view.store().is_some() && view.voter_count() >= view.valid.members {
        return Some(join::take_back(view, name, "it is not wanted any more"));
    }
    // The newcomer takes the place of a voter that has failed since.
    if let Some(failed) = next::failed(view).filter(|_| view.changeable().is_some()) {
        return Some(next::begin_replacing(view, name.to_owned(), failed, view.next_number()));
    }
    if let Some(step) = join::learner(view, name) {
        return Some(step);
    }
    let Some(store) = view.changeable() else { return Some(unchangeable(view)) };
    Some(join::promote(view, store, view.seen(name)?))
}
