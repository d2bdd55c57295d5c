//! The status for observations that the model of the world does not make.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use quorate_crd::v1alpha1::{Certificates, QuorateClusterSpec};

use super::*;
use crate::cluster::observed::{Answer, Member, Pod};
use crate::cluster::valid::validate;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn cluster() -> QuorateCluster {
    let mut cluster = QuorateCluster::new("main", QuorateClusterSpec::default());
    cluster.metadata.namespace = Some("team".to_owned());
    cluster.metadata.uid = Some("17".to_owned());
    cluster.metadata.generation = Some(4);
    cluster
}

fn told(observed: &Observed, at: Timestamp) -> QuorateClusterStatus {
    let valid = validate(&cluster(), "0.1.0").unwrap();
    let step = Step::Wait { reason: "nothing is to be done".to_owned(), until: None };
    status(&valid, observed, at, &Plan { step })
}

/// A condition as status, reason and message.
#[track_caller]
fn condition(status: &QuorateClusterStatus, type_: &str) -> [String; 3] {
    let found: Vec<&meta::Condition> =
        status.conditions.iter().filter(|condition| condition.type_ == type_).collect();
    assert_eq!(found.len(), 1, "{type_}");
    [&found[0].status, &found[0].reason, &found[0].message].map(Clone::clone)
}

/// Two members that answer.
fn answering(answers: [Answer; 2]) -> Observed {
    let mut observed = Observed::default();
    for (number, answer) in (1..).zip(answers) {
        let member = Member { number, answer: Some(answer), ..Member::default() };
        observed.members.insert(format!("main-{number}"), member);
    }
    observed
}

#[test]
fn a_refused_spec_leaves_what_is_known() {
    let mut cluster = cluster();
    let mut before = told(&answering([Answer::default(), Answer::default()]), now());
    before.cluster_id = Some("c1".to_owned());
    before.next_member = 3;
    cluster.status = Some(before.clone());
    let refusals = [Refusal::Members(4), Refusal::Size("much".to_owned())];
    let refused_at = |cluster: &QuorateCluster, seconds| {
        refused(cluster, &refusals, now() + SignedDuration::from_secs(seconds))
    };
    let status = refused_at(&cluster, 60);
    let message = "members: must be 1, 3, 5 or 7, and not 4; storage.size: \"much\" is not an \
                   amount of bytes: write it as in 10Gi";
    assert_eq!(condition(&status, "Valid"), ["False", "InvalidSpec", message]);
    assert_eq!(status.phase, Phase::Failed);
    assert_eq!((status.observed_generation, status.next_member), (4, 3));
    // Nothing is known of its members any more, and the rest stays.
    assert_eq!(condition(&status, "Available")[..2], ["Unknown", "InvalidSpec"]);
    let mut kept = status.clone();
    kept.phase = before.phase;
    for (condition, old) in kept.conditions.iter_mut().zip(&before.conditions) {
        if ["Available", "Valid"].contains(&condition.type_.as_str()) {
            condition.clone_from(old);
        }
    }
    assert_eq!(kept, before);
    // Nothing is written while nothing changes, and the phase is left once the spec is mended.
    cluster.status = Some(status.clone());
    assert_eq!(refused_at(&cluster, 120), status);
    let observed = Observed { status, ..Observed::default() };
    let mended = told(&observed, now() + SignedDuration::from_secs(180));
    assert_eq!(condition(&mended, "Valid")[0], "True");
    assert_ne!(mended.phase, Phase::Failed);
}

#[test]
fn a_refused_spec_that_was_never_followed_has_two_conditions() {
    let status = refused(&cluster(), &[Refusal::Members(2)], now());
    assert_eq!(condition(&status, "Valid")[1], "InvalidSpec");
    assert_eq!(status.conditions.len(), 2);
    assert_eq!(status.cluster_id, None);
}

#[test]
fn certificates_that_expire_soon_are_told() {
    let days = |days: i64| Some(meta::Time(now() + SignedDuration::from_hours(24 * days)));
    let is_valid = |next, peer, client| {
        let certificates =
            Certificates { next_expiry: days(next), peer_ca: days(peer), client_ca: days(client) };
        let observed = Observed { certificates, ..Observed::default() };
        condition(&told(&observed, now()), "CertificatesValid")
    };
    assert_eq!(is_valid(16, 91, 91), ["True", "AsExpected", "no certificate expires soon"]);
    // Leaves live for 90 days: the last sixth of it is 15 days.
    for (next, peer, client, message) in [
        (15, 91, 91, "a certificate of a member or client expires soon, and is not renewed"),
        (-1, 91, 91, "a certificate of a member or client expires soon, and is not renewed"),
        (16, 90, 91, "the authority for members expires soon"),
        (16, 91, 90, "the authority for clients expires soon"),
    ] {
        assert_eq!(is_valid(next, peer, client), ["False", "ExpiresSoon", message]);
    }
}

#[test]
fn a_renewal_that_is_not_used_is_told_and_a_lost_authority_before_it() {
    let mut observed = answering([Answer::default(), Answer::default()]);
    let fault = Some("peer.key: not a key".to_owned());
    observed.members.get_mut("main-2").unwrap().certificate_fault = fault;
    let message = "main-2 does not use its renewed certificates: peer.key: not a key";
    let told_of = |observed: &Observed| condition(&told(observed, now()), "CertificatesValid");
    assert_eq!(told_of(&observed), ["False", "RenewalUnused", message]);
    observed.lost_authorities.insert("main-peer-ca".to_owned());
    assert_eq!(told_of(&observed)[..2], ["False", "AuthorityLost"]);
}

#[test]
fn what_fails_is_told() {
    let mut observed = Observed::default();
    observed.status.cluster_id = Some("c1".to_owned());
    observed.failures.add(&Step::IssueCertificates, "create the Secret a: no".to_owned());
    let status = told(&observed, now());
    let message = "nothing is to be done; create the Secret a: no";
    assert_eq!(condition(&status, "Progressing")[2], message);
    let expected = ["False", "IssueRefused", "create the Secret a: no"];
    assert_eq!(condition(&status, "CertificatesValid"), expected);
    observed.failures.add(&Step::End, "write the status: no".to_owned());
    let message = "write the status: no; create the Secret a: no";
    assert_eq!(condition(&told(&observed, now()), "Progressing")[2], message);
}

#[test]
fn a_member_without_space_is_told() {
    let space = |observed: &Observed| condition(&told(observed, now()), "SpaceSufficient");
    assert_eq!(space(&Observed::default()), ["Unknown", "Unreachable", "no member answers"]);
    let full = Answer { no_space: true, used_percent: 97, ..Answer::default() };
    let observed = answering([Answer::default(), full]);
    let message = "main-2 refuses writes for want of space";
    assert_eq!(space(&observed), ["False", "NoSpace", message]);
    assert_eq!(told(&observed, now()).used_percent, 95);
    let observed = answering([Answer::default(), Answer::default()]);
    assert_eq!(space(&observed), ["True", "AsExpected", "all members have space"]);
    let mut observed = observed;
    let pod = Pod { exit: Some("disk-full".to_owned()), ..Pod::default() };
    observed.members.get_mut("main-1").unwrap().pod = Some(pod);
    let message = "main-1 cannot start: its volume is full";
    assert_eq!(space(&observed), ["False", "NoSpace", message]);
    // While no member answers, the last word stands.
    let mut silent = Observed::default();
    silent.status.used_percent = 95;
    assert_eq!(told(&silent, now()).used_percent, 95);
}

#[test]
fn the_version_is_that_of_all_members() {
    let answer = |version: &str| Answer { version: version.to_owned(), ..Answer::default() };
    let version = |observed: &Observed| told(observed, now()).version;
    assert_eq!(version(&answering([answer("0.1.0"), answer("0.1.0")])), "0.1.0");
    assert_eq!(version(&answering([answer("0.1.0"), answer("0.2.0")])), "");
    // An answer without a version, and no answer: the one recorded before stands.
    let mut observed = answering([answer("0.1.0"), answer("")]);
    observed.members.get_mut("main-2").unwrap().version = "0.1.0".to_owned();
    assert_eq!(version(&observed), "0.1.0");
    observed.members.get_mut("main-2").unwrap().answer = None;
    assert_eq!(version(&observed), "0.1.0");
    let valid = validate(&cluster(), "0.1.0").unwrap();
    assert_eq!(member_statuses(&valid, &observed, now())["main-2"].version, "0.1.0");
}
