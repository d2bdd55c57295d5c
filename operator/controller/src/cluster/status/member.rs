//! The statuses of the members.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quorate_crd::v1alpha1::{ChangeKind, MemberPhase, QuorateMemberStatus};

use crate::cluster::observed::Observed;
use crate::cluster::plan::seen::Seen;
use crate::cluster::plan::view::{View, hex};
use crate::cluster::valid::Valid;

/// The statuses of all recorded members, by name. The id is as observed: only its own step writes
/// it.
#[must_use]
pub fn member_statuses(
    valid: &Valid,
    observed: &Observed,
    now: Timestamp,
) -> BTreeMap<String, QuorateMemberStatus> {
    let view = View::new(valid, observed, now);
    view.members.iter().map(|seen| (seen.name.to_owned(), status(&view, seen))).collect()
}

fn status(view: &View<'_>, seen: &Seen<'_>) -> QuorateMemberStatus {
    let pod = seen.member.pod.as_ref();
    let message = pod.map_or("", |pod| &pod.message);
    QuorateMemberStatus {
        member_id: seen.member.id.map(hex),
        phase: phase(view, seen),
        role: role(view, seen).to_owned(),
        version: seen.version_text().to_owned(),
        node: pod.map_or_else(String::new, |pod| pod.node.clone()),
        unreachable_since: unreachable_since(view, seen).map(Time),
        message: view.failure(seen).unwrap_or_else(|| message.to_owned()),
    }
}

/// The time from which the member has not served, if it should: it votes, or may vote, and is not
/// stopped on request. A learner serves when it answers.
fn unreachable_since(view: &View<'_>, seen: &Seen<'_>) -> Option<Timestamp> {
    let may_vote = match view.store() {
        Some(_) => seen.is_voter(),
        None => seen.member.id.is_some() || seen.has_volume(),
    };
    let is_missing = if seen.is_learner() {
        seen.member.answer.is_none()
    } else {
        may_vote && !seen.is_healthy()
    };
    let is_missing = is_missing && view.is_founded() && !view.valid.is_hibernated;
    is_missing.then(|| seen.member.unreachable_since.unwrap_or(view.now))
}

fn role(view: &View<'_>, seen: &Seen<'_>) -> &'static str {
    let votes = match (view.store(), &seen.member.pod) {
        (Some(_), _) => seen.stored.map(|stored| !stored.is_learner),
        (None, pod) => pod.as_ref().map(|pod| pod.is_labelled_voter),
    };
    match votes {
        Some(true) => "Voter",
        Some(false) => "Learner",
        None => "",
    }
}

fn phase(view: &View<'_>, seen: &Seen<'_>) -> MemberPhase {
    let leaves = view.change().is_some_and(|change| {
        let is_removed = change.kind == ChangeKind::Remove && change.member == seen.name;
        is_removed || change.replaces.as_deref() == Some(seen.name)
    });
    if seen.member.is_deleted || leaves {
        MemberPhase::Leaving
    } else if view.valid.is_hibernated && seen.member.pod.is_none() {
        MemberPhase::Hibernated
    } else if seen.is_learner() {
        MemberPhase::Joining
    } else if seen.is_healthy() && seen.stored.is_none_or(|stored| !stored.is_learner) {
        MemberPhase::Ready
    } else if seen.member.id.is_some() {
        MemberPhase::Unhealthy
    } else {
        MemberPhase::Pending
    }
}
