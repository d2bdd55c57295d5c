//! The records and objects that must be there before anything else is done.

use super::view::View;
use crate::cluster::step::Step;

/// Issues certificates. Pods start with them. Without its authorities, a cluster lives on with the
/// certificates that it has.
pub(super) fn certificates(view: &View<'_>) -> Option<Step> {
    let is_due = !view.observed.stale_certificates.is_empty() && view.lost_authority().is_none();
    let has_failed = view.observed.failures.certificates.is_some();
    (is_due && !has_failed).then_some(Step::IssueCertificates)
}

/// Applies the shared objects.
pub(super) fn objects(view: &View<'_>) -> Option<Step> {
    let is_due = !view.observed.stale_objects.is_empty();
    let has_failed = view.observed.failures.objects.is_some();
    (is_due && !has_failed).then_some(Step::ApplyObjects)
}

/// Gives claims their owner while the cluster is paused: none, with `storage.onDelete: Retain`.
/// Volumes that the user wants to keep must not be deleted with the cluster.
pub(super) fn owners(view: &View<'_>) -> Option<Step> {
    let mut stale = view.observed.stale_objects.iter();
    let is_due = stale.any(|name| name.starts_with("PersistentVolumeClaim/"));
    let has_failed = view.observed.failures.objects.is_some();
    (is_due && !has_failed).then_some(Step::ApplyObjects)
}

/// Records the ids that the store gave the cluster and its members, and makes lost records again.
pub(super) fn records(view: &View<'_>) -> Option<Step> {
    let unwritten = view.members.iter().find_map(|seen| {
        let id = seen.stored.filter(|_| seen.member.id.is_none() && !seen.member.is_deleted)?.id;
        Some(Step::RecordId { member: seen.name.to_owned(), id })
    });
    unwritten.or_else(|| cluster(view)).or_else(|| lost(view))
}

fn cluster(view: &View<'_>) -> Option<Step> {
    let has_ours = view.members.iter().any(|seen| seen.stored.is_some());
    let is_due = !view.is_founded() && has_ours && view.foreign.is_empty();
    let id = view.store().filter(|_| is_due)?.cluster_id;
    Some(Step::RecordCluster { id })
}

/// Makes the record of a member again if the record was deleted, but the member is part of the
/// store, or its data is there. It is the same member, so it gets the same name.
fn lost(view: &View<'_>) -> Option<Step> {
    let joins = |name: &str| view.change().is_some_and(|change| change.member == name);
    let mut orphans = view.observed.orphans.iter().filter(|name| !joins(name));
    let orphan = orphans.find_map(|name| view.valid.number(name));
    let number = view.unrecorded.first().copied().or(orphan)?;
    Some(Step::CreateMember { member: view.valid.member(number), number, founds: false })
}
