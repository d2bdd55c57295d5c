//! The status: the operator's knowledge of a cluster, even when the store does not answer.
//!
//! The status follows from the observed facts and the previous status. It holds nothing that
//! changes while the cluster is idle.

mod condition;
mod health;
mod member;

use jiff::Timestamp;
use quorate_crd::names;
use quorate_crd::v1alpha1::{Phase, QuorateCluster, QuorateClusterStatus, Quorum, Reason};

use super::failures::Failures;
use super::observed::Observed;
use super::plan::Plan;
use super::plan::view::View;
use super::step::Step;
use super::valid::{Refusal, Valid};
use condition::Condition;

pub use member::member_statuses;

/// The status gives the used part of a quota in multiples of this many percent, rounded down.
const USED_STEP: i32 = 5;

/// The status of a cluster before the step of `plan` is done. The change, the number of the next
/// member and the id of the cluster stay as observed, because only their own steps write them.
#[must_use]
pub fn status(
    valid: &Valid,
    observed: &Observed,
    now: Timestamp,
    plan: &Plan,
) -> QuorateClusterStatus {
    let view = View::new(valid, observed, now);
    let before = &observed.status;
    let conditions = health::conditions(&view, plan);
    let is_degraded = conditions.iter().any(Condition::is_trouble);
    QuorateClusterStatus {
        observed_generation: valid.generation,
        phase: phase(&view, plan, is_degraded),
        ready: format!("{}/{}", ready(observed), valid.members),
        members: count(view.members.len()),
        selector: format!("{}={}", names::LABEL_CLUSTER, valid.name),
        leader: view.leader().map_or_else(String::new, |seen| seen.name.to_owned()),
        version: version(&view),
        cluster_id: before.cluster_id.clone(),
        endpoint: names::endpoint(&valid.name, &valid.namespace),
        quorum: quorum(&view),
        used_percent: used_percent(observed),
        certificates: observed.certificates.clone(),
        next_member: before.next_member,
        change: before.change.clone(),
        conditions: condition::written(conditions, &before.conditions, valid.generation, view.now),
    }
}

/// The status of a cluster whose spec cannot be followed. It keeps the facts of the last status
/// about the members.
#[must_use]
pub fn refused(
    cluster: &QuorateCluster,
    refusals: &[Refusal],
    now: Timestamp,
) -> QuorateClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation.unwrap_or_default();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let texts: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    let refusal = Condition::invalid(Reason::InvalidSpec, texts.join("; "));
    for condition in [condition::unwatched(), refusal] {
        status.conditions = condition::merged(condition, &status.conditions, generation, now);
    }
    status.observed_generation = generation;
    status.phase = Phase::Failed;
    status
}

fn phase(view: &View<'_>, plan: &Plan, is_degraded: bool) -> Phase {
    let has_pods = view.members.iter().any(|seen| seen.member.pod.is_some());
    let is_idle = matches!(plan.step, Step::Wait { .. });
    let is_degraded = is_degraded || view.observed.failures != Failures::default();
    let is_complete = view.voter_count() == view.valid.members
        && view.unhealthy("").is_none()
        && ready(view.observed) == view.valid.members;
    if view.valid.is_paused {
        Phase::Paused
    } else if view.valid.is_hibernated && !has_pods && view.change().is_none() {
        Phase::Hibernated
    } else if !view.is_founded() {
        founding_phase(view)
    } else if view.store().is_none() {
        // A hibernated cluster sleeps until the status has the change that wakes it.
        let is_asleep = view.observed.status.phase == Phase::Hibernated && !has_pods;
        let is_asleep = is_asleep && view.change().is_none();
        match view.change() {
            _ if is_asleep => Phase::Hibernated,
            Some(_) if view.is_stopped_on_request() && view.is_stuck() => Phase::Failed,
            Some(_) if view.is_stopped_on_request() => Phase::Changing,
            _ => Phase::Unavailable,
        }
    } else if view.is_stuck() {
        Phase::Failed
    } else if view.change().is_some() {
        Phase::Changing
    } else if is_degraded {
        Phase::Degraded
    } else if is_idle && is_complete {
        Phase::Ready
    } else {
        Phase::Changing
    }
}

fn founding_phase(view: &View<'_>) -> Phase {
    if view.is_stuck() {
        Phase::Failed
    } else if view.change().is_some() || !view.members.is_empty() {
        Phase::Founding
    } else {
        Phase::Pending
    }
}

fn ready(observed: &Observed) -> usize {
    let pods = observed.members.values().filter_map(|member| member.pod.as_ref());
    pods.filter(|pod| pod.is_ready && !pod.is_deleted).count()
}

/// The version that all members run; empty while they differ.
fn version(view: &View<'_>) -> String {
    let mut versions = view.members.iter().filter_map(|seen| seen.version());
    let first = versions.next();
    let is_one = first.as_ref().is_some_and(|first| versions.all(|version| version == *first));
    first.filter(|_| is_one).map_or_else(String::new, |version| version.to_string())
}

fn used_percent(observed: &Observed) -> i32 {
    let answers = observed.members.values().filter_map(|member| member.answer.as_ref());
    let fullest = answers.map(|answer| answer.used_percent / USED_STEP * USED_STEP).max();
    // While no member answers, the last reported value stays.
    fullest.unwrap_or(observed.status.used_percent)
}

/// How many voters serve, and how many must. While the store does not answer, every member that
/// ever joined counts as a voter.
fn quorum(view: &View<'_>) -> Quorum {
    let joined = view.members.iter().filter(|seen| seen.member.id.is_some());
    let (have, voters) = if view.store().is_some() {
        (view.healthy_count(""), view.voter_count())
    } else {
        (joined.clone().filter(|seen| seen.is_healthy()).count(), joined.count())
    };
    let need = voters / 2 + 1;
    let text = match (voters, have.checked_sub(need)) {
        (0, _) => "none".to_owned(),
        (_, Some(spare)) => format!("{have} of {voters}, can lose {spare}"),
        (_, None) => format!("{have} of {voters}, needs {need}"),
    };
    Quorum {
        have: count(have),
        need: count(if voters == 0 { 0 } else { need }),
        can_lose: count(have.saturating_sub(need)),
        text,
    }
}

fn count(members: usize) -> i32 {
    i32::try_from(members).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
