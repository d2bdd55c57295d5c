//! Expiry and remaining time of leases.

use quorate_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest};

use super::script::{Script, get, put, time_to_live};
use crate::checker::{Checker, Rule};
use crate::history::{Outcome, Request, Response};

fn grant(id: i64, ttl: i64) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { id, ttl })
}

fn keep_alive(id: i64) -> Request {
    Request::LeaseKeepAlive(LeaseKeepAliveRequest { id })
}

/// The rule that a script violates.
fn broken(mut script: Script) -> Option<Rule> {
    Checker::default().check(script.audit()).err().map(|violation| violation.rule)
}

#[test]
fn an_early_expiry_is_found_by_a_late_audit() {
    for (before, after, expected) in [(0, 5, Some(Rule::WrongLease)), (5, 0, None)] {
        let mut script = Script::new();
        script.ask(grant(9, 3));
        script.ask(put("l", 9));
        script.wait(before);
        script.expire(9);
        // A read shows that the lease has expired.
        script.ask(get("l"));
        script.wait(after);
        assert_eq!(broken(script), expected);
    }
}

/// Grants leases of 60 s; 20 s later, a response says that lease `id` has `ttl` seconds left.
fn with_remaining_ttl(id: i64, ttl: i64) -> Script {
    let mut script = Script::new();
    script.ask(grant(9, 60));
    script.ask(grant(8, 60));
    script.wait(20);
    let place = script.ask(time_to_live(9));
    if let Outcome::Answered(Response::LeaseTimeToLive(time)) =
        &mut script.operations[place].outcome
    {
        (time.id, time.ttl) = (id, ttl);
    }
    script
}

#[test]
fn a_remaining_ttl_out_of_bounds_is_found() {
    for ttl in [39, 40, 60, 61] {
        assert_eq!(broken(with_remaining_ttl(9, ttl)), None, "{ttl}");
    }
    for ttl in [0, 38, 62, 999_999] {
        assert_eq!(broken(with_remaining_ttl(9, ttl)), Some(Rule::WrongLease), "{ttl}");
    }
    assert_eq!(broken(with_remaining_ttl(8, 40)), Some(Rule::WrongLease));
}

#[test]
fn a_keep_alive_with_another_lease_or_ttl_is_found() {
    for ((id, ttl), expected) in
        [((9, 60), None), ((8, 60), Some(Rule::WrongLease)), ((9, 1), Some(Rule::WrongLease))]
    {
        let mut script = Script::new();
        script.ask(grant(9, 60));
        let place = script.ask(keep_alive(9));
        if let Outcome::Answered(Response::LeaseKeepAlive(answer)) =
            &mut script.operations[place].outcome
        {
            (answer.id, answer.ttl) = (id, ttl);
        }
        assert_eq!(broken(script), expected, "{id} {ttl}");
    }
}

#[test]
fn a_keep_alive_that_does_not_renew_is_found() {
    let mut script = Script::new();
    script.ask(grant(9, 60));
    script.wait(50);
    script.ask(keep_alive(9));
    script.wait(50);
    script.ask(time_to_live(9));
    let place = script.operations.len() - 1;
    if let Outcome::Answered(Response::LeaseTimeToLive(time)) =
        &mut script.operations[place].outcome
    {
        time.ttl = 5;
    }
    assert_eq!(broken(script), Some(Rule::WrongLease));
}

#[test]
fn a_lease_that_outlives_its_ttl_is_found() {
    for request in [time_to_live(9), keep_alive(9), put("l", 9)] {
        for (leader_is_new, expected) in [(true, None), (false, Some(Rule::WrongLease))] {
            let mut script = Script::new();
            script.ask(grant(9, 3));
            script.wait(3600);
            if leader_is_new {
                script.restart();
            }
            script.ask(request.clone());
            assert_eq!(broken(script), expected, "{request:?}");
        }
    }
}
