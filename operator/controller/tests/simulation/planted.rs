//! Plans with a planted mistake are caught.

use jiff::Timestamp;
use quorate_controller::cluster::Planner;
use quorate_controller::cluster::observed::Observed;
use quorate_controller::cluster::plan::{Plan, plan};
use quorate_controller::cluster::step::Step;
use quorate_controller::cluster::valid::Valid;
use quorate_crd::v1alpha1::ChangeKind;

use crate::run;
use crate::scenario;

/// Touches the leader where its leadership should be moved first.
fn removes_before_the_transfer(valid: &Valid, observed: &Observed, now: Timestamp) -> Plan {
    let plan = plan(valid, observed, now);
    let Step::MoveLeader { from, .. } = &plan.step else { return plan };
    let store = observed.store.as_ref().expect("a leader is known");
    let kind = observed.status.change.as_ref().map(|change| change.kind);
    let step = if kind == Some(ChangeKind::Update) {
        let pod = observed.members[from].pod.as_ref().expect("the leader runs");
        Step::DeletePod { member: from.clone(), uid: pod.uid.clone(), force: false }
    } else {
        let (id, configuration) = (store.leader, store.configuration);
        Step::RemoveFromStore { member: from.clone(), id, configuration }
    };
    Plan { step }
}

/// Does not see that a change is under way, once the cluster is founded.
fn makes_two_changes_at_once(valid: &Valid, observed: &Observed, now: Timestamp) -> Plan {
    let mut observed = observed.clone();
    if observed.status.cluster_id.is_some() {
        observed.status.change = None;
    }
    plan(valid, &observed, now)
}

/// Takes the first number that is free now.
fn reuses_a_name(valid: &Valid, observed: &Observed, now: Timestamp) -> Plan {
    let mut observed = observed.clone();
    observed.status.next_member = 0;
    observed.last_number = 0;
    plan(valid, &observed, now)
}

/// A planted plan is caught by its rule in some scenario.
fn is_caught(what: &str, planted: Planner, rule: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let caught = scenario::all().into_iter().find_map(|scenario| {
        let error = runtime.block_on(run::undisturbed(&scenario, planted)).err()?;
        error.contains(rule).then(|| format!("{}, {error}", scenario.name))
    });
    let caught = caught.unwrap_or_else(|| panic!("{what}: no scenario shows it"));
    println!("{what} is caught: {caught}");
}

#[test]
fn to_remove_before_the_transfer_is_caught() {
    is_caught("remove before transfer", removes_before_the_transfer, "the leader moves before");
}

#[test]
fn two_changes_at_once_are_caught() {
    is_caught("two changes at once", makes_two_changes_at_once, "one change at a time");
}

#[test]
fn a_name_that_is_used_again_is_caught() {
    is_caught("reuse a name", reuses_a_name, "is used once");
}
