//! Founding: one member starts a cluster of one. All others join it.

use super::super::view::View;
use super::super::wait;
use super::join;
use crate::cluster::step::Step;

/// The next step of the founding by `name`.
pub(super) fn found(view: &View<'_>, name: &str) -> Option<Step> {
    if view.is_founded() {
        let pod = view.seen(name).and_then(|seen| seen.member.pod.as_ref());
        let is_done = pod.is_none_or(|pod| pod.is_labelled_voter);
        return is_done.then_some(Step::End);
    }
    let prepared = join::prepare(view, name, true);
    Some(prepared.unwrap_or_else(|| wait(view, format!("{name} founds the cluster"))))
}
