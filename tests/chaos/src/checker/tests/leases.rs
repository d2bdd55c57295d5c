//! When leases end, and what is said of their time.

use quorate_proto::etcdserverpb::LeaseGrantRequest;

use super::script::{Script, get, put};
use crate::checker::{Checker, Rule};
use crate::history::Request;

fn grant(id: i64, ttl: i64) -> Request {
    Request::LeaseGrant(LeaseGrantRequest { id, ttl })
}

/// The rule that a script breaks.
fn broken(mut script: Script) -> Option<Rule> {
    Checker::default().check(script.audit()).err().map(|violation| violation.rule)
}

#[test]
fn a_lease_that_ends_early_is_found_however_late_the_audit_is() {
    for (before, after, expected) in [(0, 5, Some(Rule::WrongLease)), (5, 0, None)] {
        let mut script = Script::new();
        script.ask(grant(9, 3));
        script.ask(put("l", 9));
        script.wait(before);
        script.expire(9);
        // Somebody knows of the end.
        script.ask(get("l"));
        script.wait(after);
        assert_eq!(broken(script), expected);
    }
}
