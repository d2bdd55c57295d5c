//! How a member joins: its record, its volume, its place in the store, its pod, its vote.

use super::super::seen::Seen;
use super::super::view::View;
use super::super::{disruption, next, wait};
use super::unchangeable;
use crate::cluster::observed::Store;
use crate::cluster::step::Step;

/// Makes the record and the volume of a member. `None` when both are there.
pub(super) fn prepare(view: &View<'_>, name: &str, founds: bool) -> Option<Step> {
    let member = name.to_owned();
    let Some(seen) = view.seen(name) else {
        let number = view.valid.number(name)?;
        return Some(Step::CreateMember { member, number, founds });
    };
    let bytes = view.valid.volume_bytes;
    seen.member.volume.is_none().then_some(Step::CreateVolume { member, bytes })
}

/// Makes a member a learner that has caught up. `None` when it is, or when it votes.
pub(super) fn learner(view: &View<'_>, name: &str) -> Option<Step> {
    if let Some(step) = prepare(view, name, false) {
        return Some(step);
    }
    let seen = view.seen(name)?;
    let Some(store) = view.changeable() else { return Some(unchangeable(view)) };
    match seen.stored {
        Some(stored) if stored.is_learner && !stored.is_caught_up => {
            Some(wait(view, format!("{name} catches up")))
        }
        Some(stored) if stored.is_learner && seen.member.answer.is_none() => {
            Some(wait(view, format!("{name} answers")))
        }
        Some(_) => None,
        // The certificates of all other members were issued before.
        None if view.observed.stale_certificates.contains(name) => {
            let lost = view.lost_authority();
            Some(wait(view, lost.unwrap_or_else(|| format!("{name} gets its certificates"))))
        }
        None if view.healthy_count("") <= view.voter_count() / 2 => {
            Some(wait(view, "too few voters serve for another member"))
        }
        None => Some(Step::AddLearner {
            member: name.to_owned(),
            peer_url: view.valid.peer_url(name),
            configuration: store.configuration,
        }),
    }
}

/// Promotes a learner that has caught up. A larger even number of voters must not meet a voter that
/// does not serve: then three voters would have to serve instead of two.
pub(super) fn promote(view: &View<'_>, store: &Store, seen: &Seen<'_>) -> Step {
    let voters = view.voter_count();
    let healthy = view.healthy_count("") + 1;
    let is_safe =
        healthy > voters.div_ceil(2) && (healthy == voters + 1 || voters.is_multiple_of(2));
    if !is_safe {
        return wait(view, "all voters must serve before another one joins them");
    }
    let raised = disruption::raise(view, disruption::at_rest(voters + 1));
    raised.unwrap_or_else(|| Step::Promote {
        member: seen.name.to_owned(),
        id: seen.stored.map(|stored| stored.id).unwrap_or_default(),
        configuration: store.configuration,
    })
}

/// Takes a member back that has no vote yet. The removal takes the place of the change, so that
/// nothing adds the member again.
pub(super) fn take_back(view: &View<'_>, name: &str, reason: &str) -> Step {
    if view.seen(name).is_some() { next::begin_removing(view, name, reason) } else { Step::End }
}

/// Why a member that has no vote yet can get none any more.
pub(super) fn failure(view: &View<'_>, name: &str) -> Option<String> {
    let seen = view.seen(name).filter(|seen| !seen.is_voter())?;
    let was_removed = view.store().is_some() && seen.stored.is_none() && seen.member.id.is_some();
    let removed = was_removed.then(|| format!("{name} was removed from the store"));
    // The request that added it came late. The store takes one learner.
    let mut others = view.members.iter().filter(|other| other.name != name);
    let other = others.find(|other| seen.stored.is_none() && other.is_learner());
    let second = other.map(|other| format!("{} is a learner already", other.name));
    removed.or(second).or_else(|| {
        let volume = seen.member.volume.as_ref();
        let is_lost = volume.is_some_and(|volume| volume.is_lost || volume.is_deleted);
        let is_lost = is_lost || (volume.is_none() && seen.member.id.is_some());
        let lost = is_lost.then(|| format!("the volume of {name} is lost"));
        // It was given up before, and the request that added it came late.
        let is_kept = volume.is_some_and(|volume| volume.is_kept);
        let kept = is_kept.then(|| format!("the volume of {name} is kept"));
        // If the node is there and the member does not answer, another member might fail for the
        // same cause.
        let is_stranded = view.strands_at(seen).is_some_and(|at| at <= view.now);
        let node = is_stranded.then(|| format!("the node of {name} is lost"));
        lost.or(kept).or_else(|| seen.damage()).or(node)
    })
}
