//! The next change, when none is under way: the most urgent one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quorate_crd::v1alpha1::{Change, ChangeKind, Phase};

use super::seen::Seen;
use super::view::{View, after};
use super::wait;
use crate::cluster::step::Step;

/// Begins the next change.
pub(super) fn next(view: &View<'_>) -> Option<Step> {
    if view.change().is_some() {
        return None;
    }
    if !view.is_founded() {
        return found(view);
    }
    if view.observed.status.phase == Phase::Hibernated {
        return Some(begin_for_all(view, ChangeKind::Wake, "asked for"));
    }
    if view.changeable().is_none() {
        return Some(wait(view, why_unchangeable(view)));
    }
    let begun = stray(view).or_else(|| repair(view)).or_else(|| scale(view));
    // Changes that need a new certificate were passed over.
    let lost = || Some(wait(view, view.lost_authority()?));
    begun.or_else(|| update(view)).or_else(lost)
}

fn found(view: &View<'_>) -> Option<Step> {
    if let Some(refused) = view.refused_version() {
        return Some(wait(view, refused));
    }
    let number = view.next_number();
    let (member, next) = match &view.members[..] {
        [] => (view.valid.member(number), number + 1),
        // A member with an id was part of a store, which may serve without answering.
        [only] if only.member.founds && only.member.id.is_none() => (only.name.to_owned(), number),
        _ => {
            return Some(wait(
                view,
                "the id of the cluster is not recorded, and no member tells it",
            ));
        }
    };
    Some(begin(view, ChangeKind::Found, member, None, "the cluster is new", next))
}

/// A member without a vote that no change is about: another program removed it from the store, or
/// a forgotten change left it behind.
fn stray(view: &View<'_>) -> Option<Step> {
    let seen = view.members.iter().find(|seen| !seen.is_voter())?;
    let is_wanted = view.voter_count() < view.valid.members;
    let (kind, reason) = if seen.is_learner() && is_wanted {
        (ChangeKind::Add, "it is a learner already")
    } else if seen.is_learner() {
        (ChangeKind::Remove, "it has no vote, and none is wanted")
    } else {
        (ChangeKind::Remove, "it is not a member of the store")
    };
    let next = view.next_number();
    Some(begin(view, kind, seen.name.to_owned(), None, reason, next))
}

fn repair(view: &View<'_>) -> Option<Step> {
    if view.voter_count() > view.valid.members || view.lost_authority().is_some() {
        return None;
    }
    let number = view.next_number();
    let failed = failed(view)?;
    Some(begin_replacing(view, view.valid.member(number), failed, number + 1))
}

/// A voter that must be replaced, and can be: without it a majority serves. Voters that do not
/// serve come first, among them those with lost data, and then those that are unreachable longest.
pub(super) fn failed<'v, 'a>(view: &'v View<'a>) -> Option<&'v Seen<'a>> {
    let majority = view.voter_count() / 2 + 1;
    let replaceable = view
        .voters()
        .filter(|seen| view.failure(seen).is_some() && view.healthy_count(seen.name) >= majority);
    replaceable.min_by_key(|seen| {
        (seen.is_healthy(), seen.damage().is_none(), seen.member.unreachable_since)
    })
}

fn scale(view: &View<'_>) -> Option<Step> {
    let (voters, wanted) = (view.voter_count(), view.valid.members);
    if voters == wanted {
        return None;
    }
    let number = view.next_number();
    let reason = format!("{wanted} members are wanted, and there are {voters}");
    if voters > wanted {
        let surplus = surplus(view)?;
        let name = surplus.name.to_owned();
        return Some(begin(view, ChangeKind::Remove, name, None, &reason, number));
    }
    if view.lost_authority().is_some() {
        return None;
    }
    if let Some(unhealthy) = view.unhealthy("") {
        let reason = format!("{} must serve before another member is added", unhealthy.name);
        return Some(wait(view, reason));
    }
    let name = view.valid.member(number);
    Some(begin(view, ChangeKind::Add, name, None, &reason, number + 1))
}

/// The voter to remove next: one that does not serve, then one that is about to lose its volume,
/// then a follower, then the newest.
fn surplus<'v, 'a>(view: &'v View<'a>) -> Option<&'v Seen<'a>> {
    view.voters().max_by_key(|seen| {
        let is_damaged = seen.damage().is_some();
        (!seen.is_healthy(), is_damaged, !view.leads(seen), seen.member.number)
    })
}

/// Restarts one member with the present settings and version, the leader last.
fn update(view: &View<'_>) -> Option<Step> {
    // The repair that comes first waits for an authority.
    if failed(view).is_some() {
        return None;
    }
    // A damaged member keeps its pod: only the pod holds a claim that is being deleted.
    let stale = view.voters().filter(|seen| view.is_stale(seen) && seen.damage().is_none());
    let seen = stale
        .min_by_key(|seen| (seen.mismatch().is_none(), view.leads(seen), seen.member.number))?;
    // A wrong image gets to one member only.
    let mut current = view.voters().filter(|other| !view.is_stale(other));
    if let Some(mismatch) = current.find_map(Seen::mismatch) {
        return Some(wait(view, mismatch));
    }
    if let Some(unhealthy) = view.unhealthy("") {
        let reason = format!("{} must serve before a member restarts", unhealthy.name);
        return Some(wait(view, reason));
    }
    if view.is_pair() {
        return Some(wait(view, "a third member must vote before one of two restarts"));
    }
    let old = seen.member.pod.as_ref().map_or("", |pod| &pod.version);
    let new = view.version(seen);
    let reason = if old == new {
        "its settings have changed".to_owned()
    } else {
        format!("from version {old} to {new}")
    };
    let next = view.next_number();
    Some(begin(view, ChangeKind::Update, seen.name.to_owned(), None, &reason, next))
}

/// Begins the replacement of a voter by a member that may have joined as a learner already.
pub(super) fn begin_replacing(
    view: &View<'_>,
    member: String,
    failed: &Seen<'_>,
    next: i64,
) -> Step {
    let reason = view.failure(failed).unwrap_or_default();
    begin(view, ChangeKind::Replace, member, Some(failed.name), &reason, next)
}

/// Begins the removal of a member.
pub(super) fn begin_removing(view: &View<'_>, member: &str, reason: &str) -> Step {
    begin(view, ChangeKind::Remove, member.to_owned(), None, reason, view.next_number())
}

/// Begins a change of all members.
pub(super) fn begin_for_all(view: &View<'_>, kind: ChangeKind, reason: &str) -> Step {
    begin(view, kind, String::new(), None, reason, view.next_number())
}

/// Gives the change under way its time again.
pub(super) fn begin_again(view: &View<'_>, change: &Change) -> Step {
    let change = Change { started_at: Time(view.now), deadline: deadline(view), ..change.clone() };
    Step::Begin { change, next_member: view.next_number() }
}

fn deadline(view: &View<'_>) -> Time {
    Time(after(view.now, view.valid.progress_deadline).unwrap_or(view.now))
}

fn begin(
    view: &View<'_>,
    kind: ChangeKind,
    member: String,
    replaces: Option<&str>,
    reason: &str,
    next_member: i64,
) -> Step {
    let text = match (kind, replaces) {
        (ChangeKind::Replace, Some(old)) => format!("Replace {old} by {member}"),
        _ if member.is_empty() => format!("{kind:?}"),
        _ => format!("{kind:?} {member}"),
    };
    let change = Change {
        kind,
        member,
        replaces: replaces.map(str::to_owned),
        reason: reason.to_owned(),
        started_at: Time(view.now),
        deadline: deadline(view),
        text,
    };
    Step::Begin { change, next_member }
}

/// Why the members cannot be changed now.
pub(super) fn why_unchangeable(view: &View<'_>) -> String {
    let foreign = view.foreign.first();
    if view.is_other_cluster() {
        "the store is that of another cluster".to_owned()
    } else if let Some(foreign) = foreign {
        format!("the store has a member that is not the operator's: {}", foreign.peer_url)
    } else if view.observed.store.is_none() {
        "the store gives no linearizable answer".to_owned()
    } else {
        "the store has no leader".to_owned()
    }
}
