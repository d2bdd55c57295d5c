//! The conditions that follow from an observation.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quorate_crd::v1alpha1::{ConditionType, Reason};

use super::condition::{Condition, Truth};
use crate::cluster::plan::Plan;
use crate::cluster::plan::seen::Seen;
use crate::cluster::plan::view::{View, after};
use crate::cluster::step::Step;

/// This long before the expiry of an authority, the status says that it expires soon.
const AUTHORITY_NOTICE: SignedDuration = SignedDuration::from_hours(24 * 90);
/// A certificate is renewed when a third of its lifetime is left. The status says that it expires
/// soon when only a sixth is left: then the renewal must have failed.
const NOTICE_PARTS: i32 = 6;

/// All conditions, in the order in which they are read.
pub(super) fn conditions(view: &View<'_>, plan: &Plan) -> Vec<Condition> {
    vec![
        available(view),
        progressing(view, plan),
        degraded(view),
        valid(view),
        certificates(view),
        space(view),
    ]
}

fn available(view: &View<'_>) -> Condition {
    let available = |truth, reason, message: &str| {
        Condition::new(ConditionType::Available, truth, reason, message)
    };
    let pods = || view.members.iter().filter_map(|seen| seen.member.pod.as_ref());
    let voters = pods().filter(|pod| pod.is_labelled_voter).count();
    let ready = pods().filter(|pod| pod.is_labelled_voter && pod.is_ready).count();
    let answers = view.members.iter().any(|seen| seen.member.answer.is_some());
    let is_asleep = view.valid.is_hibernated && pods().next().is_none();
    if is_asleep {
        available(Truth::False, Reason::Hibernated, "all members are stopped on request")
    } else if !view.is_founded() {
        available(Truth::False, Reason::Founding, "the first member has not started yet")
    } else if view.is_other_cluster() {
        available(Truth::Unknown, Reason::OtherCluster, "another cluster answers at its address")
    } else if view.store().is_some() {
        available(Truth::True, Reason::QuorumHealthy, "the store serves")
    } else if view.is_stopped_on_request() {
        let message = "the members are being stopped, or started again, on request";
        available(Truth::False, Reason::Hibernated, message)
    } else if !answers && ready > voters / 2 {
        // The kubelets say otherwise: it may be the operator that is cut off.
        let message = "no member answers the operator, but most of them are ready";
        available(Truth::Unknown, Reason::Unreachable, message)
    } else if view.members.is_empty() {
        available(Truth::Unknown, Reason::Unreachable, "the records of all members are gone")
    } else {
        available(Truth::False, Reason::QuorumLost, "fewer than a majority of the voters serve")
    }
}

fn progressing(view: &View<'_>, plan: &Plan) -> Condition {
    let next = match &plan.step {
        Step::Wait { reason, .. } => reason.clone(),
        step => step.to_string(),
    };
    let failures = &view.observed.failures;
    let next = match failures.text() {
        Some(failed) if failures.step.is_some() => failed,
        Some(failed) => format!("{next}; {failed}"),
        None => next,
    };
    let progressing = |truth, reason, message: String| {
        Condition::new(ConditionType::Progressing, truth, reason, message)
    };
    match view.change() {
        _ if view.valid.is_paused => progressing(Truth::False, Reason::Paused, next),
        Some(change) if view.is_stuck() => {
            let message = format!("{}: {next}", change.text);
            progressing(Truth::False, Reason::DeadlineExceeded, message)
        }
        Some(change) => {
            let message = format!("{}: {next}", change.text);
            progressing(Truth::True, Reason::ChangeUnderWay, message)
        }
        None if view.valid.is_hibernated => progressing(Truth::False, Reason::Hibernated, next),
        None => progressing(Truth::False, Reason::AsExpected, next),
    }
}

fn degraded(view: &View<'_>) -> Condition {
    let kind = ConditionType::Degraded;
    match trouble(view) {
        Some((reason, message)) => Condition::new(kind, Truth::True, reason, message),
        None => {
            let message = "all members are as they should be";
            Condition::new(kind, Truth::False, Reason::AsExpected, message)
        }
    }
}

/// The worst trouble of the members.
fn trouble(view: &View<'_>) -> Option<(Reason, String)> {
    if view.is_other_cluster() {
        let message = "the store has another cluster id than the recorded one: nothing is changed";
        return Some((Reason::OtherCluster, message.to_owned()));
    }
    if let Some(foreign) = view.foreign.first() {
        let message = format!(
            "the store has a member that is not the operator's, at {}: remove it, and until then \
             no member is changed",
            foreign.peer_url
        );
        return Some((Reason::UnknownMember, message));
    }
    let corrupt = view
        .members
        .iter()
        .find(|seen| seen.member.answer.as_ref().is_some_and(|answer| answer.corrupt));
    if let Some(corrupt) = corrupt {
        let message = format!("{} has found its data damaged", corrupt.name);
        return Some((Reason::Corrupt, message));
    }
    let removed = view
        .members
        .iter()
        .find(|seen| view.store().is_some() && seen.stored.is_none() && seen.member.id.is_some());
    // During a change, a member may be on its way out.
    if let Some(removed) = removed.filter(|_| view.change().is_none()) {
        let message = format!("{} was removed from the store, not by the operator", removed.name);
        return Some((Reason::MemberLost, message));
    }
    if view.valid.is_hibernated || view.is_stopped_on_request() || !view.is_founded() {
        return None;
    }
    let unhealthy = match view.store() {
        Some(_) => {
            let damaged = || view.voters().find(|seen| seen.damage().is_some());
            view.unhealthy("").or_else(damaged)
        }
        None => view.members.iter().find(|seen| !seen.is_healthy()),
    };
    let mismatch = || view.members.iter().find_map(Seen::mismatch);
    let mismatch = || Some((Reason::VersionMismatch, mismatch()?));
    let unhealthy = unhealthy.map(|seen| {
        let failure = view.failure(seen);
        let does_not_serve = || match seen.exit() {
            Some(exit) => format!("{} does not serve: its process has ended: {exit}", seen.name),
            None => format!("{} does not serve", seen.name),
        };
        (Reason::MemberUnhealthy, failure.unwrap_or_else(does_not_serve))
    });
    unhealthy.or_else(mismatch)
}

fn valid(view: &View<'_>) -> Condition {
    match view.refused_version() {
        Some(message) => Condition::invalid(Reason::VersionRefused, message),
        None => Condition::new(
            ConditionType::Valid,
            Truth::True,
            Reason::AsExpected,
            "the spec can be followed",
        ),
    }
}

fn certificates(view: &View<'_>) -> Condition {
    let certificates = &view.observed.certificates;
    let notice = view.valid.certificate_lifetime / NOTICE_PARTS;
    let is_soon = |expiry: &Option<Time>, notice| {
        expiry.as_ref().is_some_and(|expiry| {
            after(view.now, notice).is_none_or(|then: Timestamp| expiry.0 <= then)
        })
    };
    let kind = ConditionType::CertificatesValid;
    let soon = |message: &str| Condition::new(kind, Truth::False, Reason::ExpiresSoon, message);
    if let Some(lost) = view.lost_authority() {
        let message = format!("{lost}; until then no certificate is issued or renewed");
        Condition::new(kind, Truth::False, Reason::AuthorityLost, message)
    } else if let Some(why) = &view.observed.failures.certificates {
        Condition::new(kind, Truth::False, Reason::IssueRefused, why)
    } else if let Some((name, fault)) = certificate_fault(view) {
        let message = format!("{name} does not use its renewed certificates: {fault}");
        Condition::new(kind, Truth::False, Reason::RenewalUnused, message)
    } else if is_soon(&certificates.next_expiry, notice) {
        soon("a certificate of a member or client expires soon, and is not renewed")
    } else if is_soon(&certificates.peer_ca, AUTHORITY_NOTICE) {
        soon("the authority for members expires soon")
    } else if is_soon(&certificates.client_ca, AUTHORITY_NOTICE) {
        soon("the authority for clients expires soon")
    } else {
        Condition::new(kind, Truth::True, Reason::AsExpected, "no certificate expires soon")
    }
}

/// The first member that does not use its renewed certificates, and why.
fn certificate_fault<'a>(view: &View<'a>) -> Option<(&'a str, &'a String)> {
    let mut members = view.members.iter();
    members.find_map(|seen| Some((seen.name, seen.member.certificate_fault.as_ref()?)))
}

fn space(view: &View<'_>) -> Condition {
    let mut answers = view
        .members
        .iter()
        .filter_map(|seen| Some((seen.name, seen.member.answer.as_ref()?)))
        .peekable();
    let kind = ConditionType::SpaceSufficient;
    if let Some(full) = view.members.iter().find(|seen| seen.exit() == Some("disk-full")) {
        let message = format!("{} cannot start: its volume is full", full.name);
        return Condition::new(kind, Truth::False, Reason::NoSpace, message);
    }
    if answers.peek().is_none() {
        return Condition::new(kind, Truth::Unknown, Reason::Unreachable, "no member answers");
    }
    match answers.find(|(_, answer)| answer.no_space) {
        Some((name, _)) => {
            let message = format!("{name} refuses writes for want of space");
            Condition::new(kind, Truth::False, Reason::NoSpace, message)
        }
        None => Condition::new(kind, Truth::True, Reason::AsExpected, "all members have space"),
    }
}
