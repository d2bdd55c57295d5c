//! The checker must accept the history of a correct store and find every kind of fault.

mod faults;
mod leases;
mod script;

use std::time::Duration;

use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest, LeaseRevokeRequest,
    PutRequest, RangeRequest, WatchResponse,
};
use quorate_proto::mvccpb::event::EventType;
use script::{Script, get, put};
use tonic::Code;

use super::Checker;
use super::violation::Rule;
use crate::history::{Observation, Observed, Outcome, Request, Response};

/// A history with operations of every kind.
fn rich() -> Script {
    let mut script = Script::new();
    script.watch();
    script.ask(put("a", 0));
    script.ask(put("b", 0));
    script.ask(get("a"));
    script.ask(Request::Put(PutRequest { key: "a".into(), prev_kv: true, ..Default::default() }));
    script.ask(script::swap("a", 4));
    script.ask(script::swap("a", 2));
    script.ask(Request::LeaseGrant(LeaseGrantRequest { id: 7, ttl: 3600 }));
    script.ask(put("l", 7));
    script.ask(script::time_to_live(7));
    script.ask(script::delete("b", ""));
    script.ask(script::delete("x", ""));
    script.lose(put("c", 0), true);
    script.lose(put("d", 0), false);
    script.lose(script::delete("a", "b"), true);
    script.ask(Request::Status);
    script.ask(put("a", 0));
    script.ask(script::list());
    script.ask(Request::HashKv(HashKvRequest { revision: 0 }));
    script.progress();
    script
}

/// Checks a script without faults.
fn sound(script: &mut Script) -> Checker {
    let mut checker = Checker::default();
    checker.check(script.audit()).expect("it is sound");
    checker
}

#[test]
fn a_correct_history_passes() {
    let mut script = rich();
    let mut checker = sound(&mut script);
    let tally = checker.tally();
    assert_eq!((tally.unknown, tally.unknown_written), (3, 2));
    assert_eq!((tally.acknowledged, tally.watched), (9, 9));
    assert_eq!(checker.check_again(&script.everything()), Ok(()));
    script.restart();
    script.ask(Request::Compact(CompactionRequest { revision: 5, physical: true }));
    script
        .refuse(Request::Range(RangeRequest { revision: 4, ..script::range() }), script::COMPACTED);
    script.ask(Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }));
    script.refuse(put("l", 7), script::LEASE_NOT_FOUND);
    checker.check(script.audit()).expect("it is sound");
    assert_eq!(checker.model().compacted(), 5);
}

#[test]
fn an_unknown_write_may_not_be_applied_after_the_audit() {
    let mut script = rich();
    let late = script.lose(put("e", 0), false);
    let mut checker = sound(&mut script);
    script.happen(&late);
    assert_eq!(checker.check(script.audit()).unwrap_err().rule, Rule::NeverRequested);
}

#[test]
fn a_patient_checker_accepts_late_writes_for_a_while() {
    for (waited, expected) in [(10, None), (30, Some(Rule::NeverRequested))] {
        let mut script = rich();
        let late = script.lose(script::delete("a", ""), false);
        let mut checker = Checker::patient(Duration::from_secs(20));
        checker.check(script.audit()).expect("it is sound");
        script.wait(waited);
        checker.check(script.audit()).expect("it is sound");
        script.happen(&late);
        let found = checker.check(script.audit()).err().map(|violation| violation.rule);
        assert_eq!(found, expected);
        assert_eq!(checker.tally().late_written, usize::from(expected.is_none()));
    }
}

#[test]
fn a_changed_history_is_found_by_a_reread() {
    let mut script = rich();
    let checker = sound(&mut script);
    let events = script.everything();
    for broken in [&events[1..], &events[..events.len() - 1]] {
        assert_eq!(checker.check_again(broken).unwrap_err().rule, Rule::BrokenEvents);
    }
    let mut swapped = events;
    swapped.swap(3, 4);
    assert_eq!(checker.check_again(&swapped).unwrap_err().rule, Rule::BrokenEvents);
}

#[test]
fn a_write_that_is_applied_twice_is_found() {
    let mut script = rich();
    let acknowledged = script.ask(put("a", 0));
    let again = script.operations[acknowledged].clone();
    script.happen(&again);
    let violation = Checker::default().check(script.audit()).unwrap_err();
    assert_eq!(violation.rule, Rule::MisplacedWrite);
    let mut script = rich();
    let lost = script.lose(put("a", 0), true);
    script.happen(&lost);
    let violation = Checker::default().check(script.audit()).unwrap_err();
    assert_eq!(violation.rule, Rule::NeverRequested);
}

#[test]
fn similar_operations_of_unknown_outcome_are_told_apart() {
    // The first deletion can be either lost one, the second only the wider one.
    let mut script = Script::new();
    script.ask(put("a", 0));
    let wide = script.lose(script::delete("a", "c"), false);
    let narrow = script.lose(script::delete("a", ""), false);
    script.happen(&narrow);
    script.ask(put("a", 0));
    script.ask(put("b", 0));
    script.happen(&wide);
    assert_eq!(sound(&mut script).tally().unknown_written, 2);
    // Two deletions of which only one was requested.
    let mut script = Script::new();
    script.ask(put("a", 0));
    let one = script.lose(script::delete("a", ""), false);
    script.happen(&one);
    script.ask(put("a", 0));
    script.happen(&one);
    let violation = Checker::default().check(script.audit()).unwrap_err();
    assert_eq!(violation.rule, Rule::NeverRequested);
}

#[test]
fn a_lease_that_expires_too_early_is_found() {
    for (ttl, expected) in [(0, None), (3600, Some(Rule::WrongLease))] {
        let mut script = Script::new();
        script.ask(Request::LeaseGrant(LeaseGrantRequest { id: 9, ttl }));
        script.ask(put("l", 9));
        script.ask(put("m", 9));
        script.expire(9);
        let found = Checker::default().check(script.audit()).err().map(|violation| violation.rule);
        assert_eq!(found, expected);
    }
}

#[test]
fn an_expiry_that_keeps_a_key_is_found() {
    let mut script = Script::new();
    script.ask(Request::LeaseGrant(LeaseGrantRequest { id: 9, ttl: 0 }));
    script.ask(put("l", 9));
    script.ask(put("m", 9));
    // No operation requested the deletion of a single key.
    let strange = script.lose(Request::DeleteRange(DeleteRangeRequest::default()), false);
    script.write(&Request::DeleteRange(DeleteRangeRequest {
        key: b"l".as_slice().into(),
        ..Default::default()
    }));
    assert!(matches!(strange.outcome, Outcome::Unknown(_)));
    let violation = Checker::default().check(script.audit()).unwrap_err();
    assert_eq!(violation.rule, Rule::NeverRequested);
}

#[test]
fn a_revoked_lease_that_returns_is_found() {
    let mut script = rich();
    script.ask(Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }));
    script.ask(put("l", 7));
    assert_eq!(Checker::default().check(script.audit()).unwrap_err().rule, Rule::WrongLease);
    let mut script = rich();
    script.ask(Request::LeaseRevoke(LeaseRevokeRequest { id: 7 }));
    script.leases.insert(7);
    script.ask(script::time_to_live(7));
    assert_eq!(Checker::default().check(script.audit()).unwrap_err().rule, Rule::WrongLease);
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    let refusals = [
        (put("a", 0), script::COMPACTED),
        (put("l", 7), script::LEASE_NOT_FOUND),
        (Request::Range(RangeRequest { revision: 2, ..script::range() }), script::COMPACTED),
        (put("a", 0), (Code::InvalidArgument, "etcdserver: key is not provided")),
        (put("a", 0), script::NO_SPACE),
    ];
    for (request, text) in refusals {
        let mut script = rich();
        script.refuse(request, text);
        let rule = Checker::default().check(script.audit()).unwrap_err().rule;
        assert!(matches!(rule, Rule::WrongRefusal | Rule::WrongLease), "{rule:?}");
    }
}

#[test]
fn full_disks_refuse_only_requests_that_add_data() {
    let refused = |request| {
        let mut script = rich();
        script.refuse(request, script::NO_SPACE);
        Checker::default().with_full_disks().check(script.audit())
    };
    assert!(refused(put("a", 0)).is_ok());
    let read = Request::Range(script::range());
    assert_eq!(refused(read).unwrap_err().rule, Rule::WrongRefusal);
}

#[test]
fn a_compaction_that_is_lost_is_found() {
    let compact = || Request::Compact(CompactionRequest { revision: 5, physical: true });
    let past = || Request::Range(RangeRequest { revision: 4, ..script::range() });
    let mut script = rich();
    script.ask(compact());
    script.ask(past());
    let violation = Checker::default().check(script.audit()).unwrap_err();
    assert_eq!(violation.rule, Rule::WrongCompaction);
    // The checker remembers the compaction in the next period, and finds that the store lost it.
    let mut script = rich();
    script.ask(compact());
    let mut checker = sound(&mut script);
    script.compacted = -1;
    script.ask(Request::HashKv(HashKvRequest { revision: 0 }));
    assert_eq!(checker.check(script.audit()).unwrap_err().rule, Rule::WrongCompaction);
}

#[test]
fn a_patient_checker_accepts_late_compactions() {
    for (patience, expected) in [(20, None), (0, Some(Rule::WrongCompaction))] {
        let mut script = rich();
        script.lose(Request::Compact(CompactionRequest { revision: 5, physical: true }), false);
        let mut checker = Checker::patient(Duration::from_secs(patience));
        checker.check(script.audit()).expect("it is sound");
        script.compacted = 5;
        let found = checker.check(script.audit()).err().map(|violation| violation.rule);
        assert_eq!(found, expected);
    }
}

#[test]
fn only_a_lagging_member_may_call_a_written_revision_a_future_one() {
    let future = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    // The other member has not reported any revision yet.
    for (serializable, other, expected) in [
        (true, true, None),
        (true, false, Some(Rule::WrongRefusal)),
        (false, true, Some(Rule::WrongRefusal)),
    ] {
        let mut script = rich();
        let read = RangeRequest { revision: 9, serializable, ..script::range() };
        script.refuse(Request::Range(read), future);
        script.operations.last_mut().unwrap().member = usize::from(other);
        let found = Checker::default().check(script.audit()).err().map(|violation| violation.rule);
        assert_eq!(found, expected);
    }
}

#[test]
fn an_event_that_a_watch_filters_is_found() {
    let filters = [(FilterType::Noput, EventType::Put), (FilterType::Nodelete, EventType::Delete)];
    for (filter, unwanted) in filters {
        for told in [true, false] {
            let mut history = rich().audit();
            if let Observed::Requested(create) = &mut history.observations[0].what {
                create.filters.push(filter as i32);
            }
            history.observations.retain(|observation| match &observation.what {
                Observed::Received(message) => {
                    told || message.events.first().is_none_or(|event| event.r#type() != unwanted)
                }
                Observed::Requested(_) => true,
            });
            let found = Checker::default().check(history).err().map(|violation| violation.rule);
            assert_eq!(found, told.then_some(Rule::WrongWatch), "{filter:?}");
        }
    }
}

#[test]
fn a_different_hash_of_equal_revisions_is_found() {
    let mut script = rich();
    let mut checker = sound(&mut script);
    let last = script.ask(Request::HashKv(HashKvRequest { revision: 0 }));
    if let Outcome::Answered(Response::HashKv(hash)) = &mut script.operations[last].outcome {
        hash.hash ^= 1;
    }
    assert_eq!(checker.check(script.audit()).unwrap_err().rule, Rule::WrongHash);
}

#[test]
fn a_watch_is_cancelled_only_by_a_compaction() {
    let compact = |revision| Request::Compact(CompactionRequest { revision, physical: false });
    // The requested compaction, the last received revision, the compacted revision in the
    // cancellation, and whether that is correct.
    for (asked, seen, said, is_right) in
        [(Some(4), 1, 4, true), (None, 1, 4, false), (Some(4), 1, 3, false), (Some(4), 5, 4, false)]
    {
        let mut script = Script::new();
        script.watch();
        for _ in 0..4 {
            script.ask(put("a", 0));
        }
        if let Some(revision) = asked {
            script.ask(compact(revision));
        }
        let mut history = script.audit();
        let (missed, later): (Vec<_>, Vec<_>) =
            history.observations.drain(1..).partition(|told| last_told(told) < said);
        let (told, _) = missed.into_iter().partition::<Vec<_>, _>(|told| last_told(told) <= seen);
        let mut cancel = later[0].clone();
        cancel.at = history.audit.since;
        cancel.what = Observed::Received(WatchResponse {
            canceled: true,
            compact_revision: said,
            ..Default::default()
        });
        let mut again = history.observations[0].clone();
        if let Observed::Requested(interest) = &mut again.what {
            interest.start_revision = said;
        }
        history.observations.extend(told);
        history.observations.extend([cancel, again]);
        history.observations.extend(later);
        let found = Checker::default().check(history).err().map(|violation| violation.rule);
        let due = (!is_right).then_some(Rule::WrongWatch);
        assert_eq!(found, due, "{asked:?}, seen {seen}, said {said}");
    }
}

#[test]
fn the_first_event_after_a_compaction_may_lack_its_previous_value() {
    for (revision, is_right) in [(4, true), (5, false)] {
        let mut script = Script::new();
        script.watch();
        for _ in 0..4 {
            script.ask(put("a", 0));
        }
        script.ask(Request::Compact(CompactionRequest { revision: 4, physical: false }));
        let mut history = script.audit();
        // The watch receives its events after the compaction.
        for observation in &mut history.observations[1..] {
            observation.at = history.audit.since;
            let last = last_told(observation);
            if let Observed::Received(told) = &mut observation.what
                && last == revision
            {
                told.events[0].prev_kv = None;
            }
        }
        let found = Checker::default().check(history).err().map(|violation| violation.rule);
        assert_eq!(found, (!is_right).then_some(Rule::WrongWatch), "{revision}");
    }
}

fn last_told(observation: &Observation) -> i64 {
    let Observed::Received(told) = &observation.what else { return 0 };
    told.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision)
}
