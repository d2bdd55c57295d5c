//! The plan: it leads from the wishes of a user and the observed state to one safe step.
//!
//! The plan remembers nothing but the status. The observed state alone makes each step safe. The
//! order of the steps of a change is found anew each time. So a change goes on from the step at
//! which it stopped, or goes back when the reason for it is gone.

mod care;
mod change;
mod disruption;
mod hibernate;
mod leave;
mod next;
mod records;
mod room;
pub(crate) mod seen;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use jiff::Timestamp;

use super::observed::Observed;
use super::step::Step;
use super::valid::Valid;
use view::View;

/// The plan for the next step of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One step. The next one is planned after it, from a new observation.
    pub step: Step,
}

/// A part of the plan. It returns a step, or a wait with its reason, or nothing if all is done.
type Task = fn(&View<'_>) -> Option<Step>;

/// Plans the next step. It depends on nothing but its arguments.
#[must_use]
pub fn plan(valid: &Valid, observed: &Observed, now: Timestamp) -> Plan {
    let view = View::new(valid, observed, now);
    Plan { step: next_step(&view) }
}

fn next_step(view: &View<'_>) -> Step {
    if view.observed.is_deleted {
        // Kubernetes deletes the objects that the cluster owns.
        return wait(view, "the cluster is being deleted");
    }
    if view.valid.is_paused {
        let kept = records::owners(view);
        return kept.unwrap_or_else(|| wait(view, "paused on request"));
    }
    // A task that waits does not hold up those after it.
    let mut waiting = None;
    for task in tasks(view) {
        match task(view) {
            Some(Step::Wait { reason, .. }) => waiting = waiting.or(Some(reason)),
            Some(step) => return step,
            None => {}
        }
    }
    wait(view, waiting.as_deref().unwrap_or("nothing is to be done"))
}

/// The tasks, the most urgent first.
fn tasks(view: &View<'_>) -> Vec<Task> {
    let certificates = records::certificates;
    let objects = records::objects;
    if view.valid.is_hibernated {
        vec![certificates, records::records, hibernate::hibernate, objects, care::grow]
    } else if view.is_founded() {
        // An object that is refused, say by a policy of the namespace, must not stop repairs.
        vec![
            change::prolong,
            certificates,
            records::records,
            care::care,
            change::change,
            disruption::rest,
            next::next,
            objects,
            care::grow,
        ]
    } else {
        vec![
            change::prolong,
            certificates,
            objects,
            records::records,
            care::care,
            change::change,
            next::next,
        ]
    }
}

/// Waits, and looks again when the time alone may change the plan.
fn wait(view: &View<'_>, reason: impl Into<String>) -> Step {
    Step::Wait { reason: reason.into(), until: view.next_time() }
}
