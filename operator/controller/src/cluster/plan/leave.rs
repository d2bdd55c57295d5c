//! How a member leaves: it is removed from the store, and then its objects go.

use super::seen::Seen;
use super::view::View;
use super::{disruption, wait};
use crate::cluster::observed::Store;
use crate::cluster::step::Step;

/// Removes a voter from the store. The rest must have a majority of healthy voters, no eviction may
/// take another one meanwhile, and another voter must lead.
pub(super) fn remove_voter(view: &View<'_>, store: &Store, seen: &Seen<'_>) -> Step {
    let voters = view.voter_count();
    let left = voters.saturating_sub(1);
    let healthy = view.healthy_count(seen.name);
    if left == 0 || healthy < left / 2 + 1 {
        let reason = format!("without {}, {healthy} of {left} voters would serve", seen.name);
        return wait(view, reason);
    }
    let raised = disruption::raise(view, voters);
    let moved = raised.or_else(|| move_leader(view, seen));
    moved.unwrap_or_else(|| remove(store, seen))
}

/// Removes a member from the store.
pub(super) fn remove(store: &Store, seen: &Seen<'_>) -> Step {
    Step::RemoveFromStore {
        member: seen.name.to_owned(),
        id: seen.stored.map(|stored| stored.id).or(seen.member.id).unwrap_or_default(),
        configuration: store.configuration,
    }
}

/// Moves the leadership to another voter, if the member leads. A voter with a current pod is better
/// than one that an update still restarts.
pub(super) fn move_leader(view: &View<'_>, seen: &Seen<'_>) -> Option<Step> {
    if !view.leads(seen) {
        return None;
    }
    let others = view.voters().filter(|other| other.name != seen.name && other.is_healthy());
    let heir = others.min_by_key(|other| (view.is_stale(other), other.member.number));
    match heir {
        Some(heir) => Some(Step::MoveLeader {
            from: seen.name.to_owned(),
            to: heir.name.to_owned(),
            id: heir.stored?.id,
        }),
        None if view.voter_count() == 1 => None,
        None => Some(wait(view, "no other voter can lead")),
    }
}

/// Clears away the objects of a member that the store does not have, the record last. `None` when
/// all are gone. The volume is kept: no step of the operator deletes data.
pub(super) fn clear(view: &View<'_>, name: &str, reason: &str) -> Option<Step> {
    let seen = view.seen(name)?;
    if let Some(pod) = &seen.member.pod {
        // The store has removed the member: a process that a lost node still runs is harmless.
        let force = pod.is_node_lost;
        return Some(if force || !pod.is_deleted {
            Step::DeletePod { member: name.to_owned(), uid: pod.uid.clone(), force }
        } else {
            wait(view, format!("the pod of {name} ends"))
        });
    }
    let volume = seen.member.volume.as_ref();
    if volume.is_some_and(|volume| !volume.is_kept && !volume.is_deleted) {
        return Some(Step::KeepVolume { member: name.to_owned(), reason: reason.to_owned() });
    }
    Some(if seen.member.is_deleted {
        wait(view, format!("the record of {name} goes"))
    } else {
        Step::DeleteMember { member: name.to_owned() }
    })
}
