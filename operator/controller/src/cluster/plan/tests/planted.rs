//! Wrong plans on purpose: the checker finds each.

use quorate_crd::v1alpha1::ChangeKind;

use super::run::{Planner, Run};
use super::world::{Event, World};
use crate::cluster::plan::{Plan, plan};
use crate::cluster::step::Step;

/// Touches the leader where its leadership should be moved first.
fn remove_before_transfer(world: &World) -> Plan {
    let plan = world.plan();
    let Step::MoveLeader { from, .. } = &plan.step else { return plan };
    let observed = world.observed();
    let store = observed.store.as_ref().expect("a leader is known");
    let kind = observed.status.change.as_ref().map(|change| change.kind);
    let step = if kind == Some(ChangeKind::Update) {
        let pod = observed.members[from].pod.as_ref().expect("the leader runs");
        Step::DeletePod { member: from.clone(), uid: pod.uid.clone(), force: false }
    } else {
        Step::RemoveFromStore {
            member: from.clone(),
            id: store.leader,
            configuration: store.configuration,
        }
    };
    Plan { step }
}

/// Does not see the lock.
fn two_changes_at_once(world: &World) -> Plan {
    let mut observed = world.observed();
    observed.status.change = None;
    plan(&world.valid(), &observed, world.now)
}

/// Takes the first number that is free now.
fn reuse_a_name(world: &World) -> Plan {
    let mut observed = world.observed();
    observed.status.next_member = 0;
    observed.last_number = 0;
    plan(&world.valid(), &observed, world.now)
}

/// Does not delete the pod of the failed member before that of the replacement is made.
fn replace_without_room(world: &World) -> Plan {
    let plan = world.plan();
    let change = world.status.change.as_ref().filter(|change| change.kind == ChangeKind::Replace);
    let (Step::DeletePod { .. }, Some(change)) = (&plan.step, change) else { return plan };
    if world.stored(&change.member).is_none_or(|stored| !stored.is_learner) {
        return plan;
    }
    let (founds, is_voter, version) = (false, false, "0.1.0".to_owned());
    let member = change.member.clone();
    Plan { step: Step::CreatePod { member, founds, is_voter, version } }
}

/// Grows, is updated, shrinks, grows again, and replaces a member.
fn live(run: &mut Run) -> Result<(), String> {
    run.settle()?;
    let damage = Event::Damage(2);
    for event in [Event::Settings(2), Event::Members(1), Event::Members(3), damage] {
        run.world.happen(&event);
        run.settle()?;
    }
    Ok(())
}

#[test]
fn planted_mistakes_are_caught() {
    assert_eq!(live(&mut Run::new(3)), Ok(()));
    let planted: [(Planner, &str); 4] = [
        (remove_before_transfer, "the leader is touched before another one leads"),
        (two_changes_at_once, "two changes at once"),
        (reuse_a_name, "a name is used twice"),
        (replace_without_room, "the replacement finds the host taken"),
    ];
    for (planner, rule) in planted {
        let outcome = live(&mut Run::with(3, planner));
        let caught = outcome.expect_err(rule);
        assert!(caught.ends_with(rule), "{caught} instead of {rule}");
    }
}
