//! The change under way: its next step. `None` means that it waits for another task.

mod add;
mod found;
mod join;
mod remove;
mod replace;
mod update;

use quorate_crd::v1alpha1::ChangeKind;

use super::view::View;
use super::{next, wait};
use crate::cluster::step::Step;

/// Gives a stuck change its time again when the spec is new: the new spec may end the cause.
pub(super) fn prolong(view: &View<'_>) -> Option<Step> {
    let is_new = view.valid.generation != view.observed.status.observed_generation;
    let stuck = view.change().filter(|_| view.is_stuck() && is_new);
    stuck.map(|change| next::begin_again(view, change))
}

/// The next step of the change under way.
pub(super) fn change(view: &View<'_>) -> Option<Step> {
    let change = view.change()?;
    match change.kind {
        ChangeKind::Found => found::found(view, &change.member),
        ChangeKind::Add => add::add(view, &change.member),
        ChangeKind::Remove => remove::remove(view, &change.member),
        ChangeKind::Replace => {
            let old = change.replaces.as_deref().unwrap_or_default();
            replace::replace(view, &change.member, old)
        }
        ChangeKind::Update => update::update(view, &change.member),
        // The cluster is to run: a stopped member starts again, as any other without a pod.
        ChangeKind::Hibernate => Some(Step::End),
        ChangeKind::Wake => Some(wake(view)),
    }
}

/// Waits until a majority serves. Members that do not come back are then replaced.
fn wake(view: &View<'_>) -> Step {
    let voters = view.voter_count();
    let is_awake = view.store().is_some() && view.healthy_count("") > voters / 2;
    if is_awake { Step::End } else { wait(view, "a majority of the members starts") }
}

/// Waits because the members cannot be changed now.
fn unchangeable(view: &View<'_>) -> Step {
    wait(view, next::why_unchangeable(view))
}
