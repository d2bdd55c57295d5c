//! The care for pods and volumes that belong to members of the store, whatever changes.

use quorate_crd::v1alpha1::Phase;

use super::room;
use super::seen::Seen;
use super::view::View;
use crate::cluster::step::Step;

/// Makes pods that are missing, deletes those that cannot go on, and labels voters.
pub(super) fn care(view: &View<'_>) -> Option<Step> {
    let is_asleep = view.change().is_none() && view.observed.status.phase == Phase::Hibernated;
    if is_asleep {
        return None;
    }
    let mut members = view.members.iter().filter(|seen| !seen.member.is_deleted);
    members.clone().find_map(|seen| create(view, seen)).or_else(|| {
        members.clone().find_map(ended).or_else(|| {
            let label = members.clone().find_map(|seen| label(view, seen));
            label.or_else(|| members.find_map(|seen| renew(view, seen)))
        })
    })
}

fn create(view: &View<'_>, seen: &Seen<'_>) -> Option<Step> {
    let founds = is_founder(view, seen);
    let belongs = match view.store() {
        Some(_) => seen.stored.is_some() && seen.member.id.is_some(),
        // It may be a voter that the majority needs. If it is no member, its process ends at once.
        None => seen.member.id.is_some() || !seen.member.founds || view.is_founded(),
    };
    let is_due = seen.member.pod.is_none() && seen.has_volume() && (belongs || founds);
    let version = view.version(seen);
    let is_due = is_due && !version.is_empty() && !room::is_awaited(view, seen);
    is_due.then(|| Step::CreatePod {
        member: seen.name.to_owned(),
        founds,
        is_voter: seen.is_voter() && view.is_founded(),
        version,
    })
}

/// Whether the member is the first one of a cluster that is not founded yet.
fn is_founder(view: &View<'_>, seen: &Seen<'_>) -> bool {
    let is_first = view.members.len() == 1 && seen.member.founds && seen.member.id.is_none();
    is_first && !view.is_founded()
}

fn ended(seen: &Seen<'_>) -> Option<Step> {
    let pod = seen.member.pod.as_ref().filter(|pod| pod.has_ended && !pod.is_deleted)?;
    Some(delete_pod(seen, &pod.uid))
}

fn label(view: &View<'_>, seen: &Seen<'_>) -> Option<Step> {
    let pod = seen.member.pod.as_ref().filter(|pod| !pod.is_deleted)?;
    let is_due = view.is_founded() && seen.is_voter() && !pod.is_labelled_voter;
    is_due.then(|| Step::LabelVoter { member: seen.name.to_owned() })
}

/// Deletes the outdated pod of a member that is broken or has no vote, so that the member gets the
/// present settings and version. The member may need these settings to run, and no majority depends
/// on it. The change Update restarts a voter that serves.
fn renew(view: &View<'_>, seen: &Seen<'_>) -> Option<Step> {
    let pod = seen.member.pod.as_ref().filter(|pod| !pod.is_deleted && !pod.is_node_lost)?;
    let has_no_vote = seen.is_learner() || (!view.is_founded() && !seen.is_voter());
    // One at a time: an operator that is cut off must not stop the whole cluster.
    let mut pods = view.members.iter().filter_map(|other| other.member.pod.as_ref());
    let is_first = !pods.any(|pod| pod.is_deleted && !pod.is_node_lost);
    let is_broken = seen.broken_at().is_some_and(|at| at <= view.now);
    let is_due = view.is_stale(seen) && (has_no_vote || (is_broken && is_first));
    is_due.then(|| delete_pod(seen, &pod.uid))
}

pub(super) fn delete_pod(seen: &Seen<'_>, uid: &str) -> Step {
    Step::DeletePod { member: seen.name.to_owned(), uid: uid.to_owned(), force: false }
}

/// Asks for larger volumes.
pub(super) fn grow(view: &View<'_>) -> Option<Step> {
    if view.observed.failures.volumes.is_some() {
        return None;
    }
    let bytes = view.valid.volume_bytes;
    let mut members = view.members.iter().filter(|seen| seen.has_volume());
    let small = members
        .find(|seen| seen.member.volume.as_ref().is_some_and(|volume| volume.asked < bytes))?;
    Some(Step::GrowVolume { member: small.name.to_owned(), bytes })
}
