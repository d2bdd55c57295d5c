//! A round of work on one cluster: observe, validate, plan, apply one step, write the status.

use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use quorate_crd::v1alpha1::{Phase, QuorateCluster, QuorateClusterStatus};

use super::apply::{apply, write_status};
use super::failures::Failures;
use super::observe::{Answers, Objects, Seen, observe};
use super::observed::Observed;
use super::plan::Plan;
use super::status;
use super::step::Step;
use super::valid::{Refusal, Valid, validate};
use crate::context::Context;
use crate::error::Error;
use crate::event;

/// How a cluster's next step is planned.
pub type Planner = fn(&Valid, &Observed, Timestamp) -> Plan;

/// How often a healthy cluster is looked at.
const POLL_IDLE: Duration = Duration::from_secs(15);
/// How often a cluster is looked at while it changes.
const POLL_CHANGE: Duration = Duration::from_secs(1);
/// How often a cluster that is not well, but does not change, is looked at.
const POLL_UNWELL: Duration = Duration::from_secs(5);

/// The key of a cluster.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// When the next round is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// At once: something was done.
    Soon,
    /// After this time, or once something changes.
    After(Duration),
    /// Once something changes.
    Change,
}

/// Does one round of work on a cluster.
///
/// # Errors
/// The API server or the store refuses a request, or gives no answer, or this process may not act.
/// The next round begins anew.
pub async fn reconcile(key: &Key, context: &Context) -> Result<Next, Error> {
    let clusters: Api<QuorateCluster> = Api::namespaced(context.client.clone(), &key.namespace);
    let cluster = clusters.get_opt(&key.name).await;
    let cluster = cluster.map_err(Error::kubernetes(format!("get the cluster {}", key.name)))?;
    let Some(cluster) = cluster else {
        context.metrics.forget(key);
        return Ok(Next::Change);
    };
    let now = (context.now)();
    match validate(&cluster, &context.defaults.version) {
        Ok(valid) => Box::pin(follow(key, context, cluster, &valid, now)).await,
        Err(refusals) => refuse(key, context, cluster, &refusals, now).await,
    }
}

async fn follow(
    key: &Key,
    context: &Context,
    cluster: QuorateCluster,
    valid: &Valid,
    now: Timestamp,
) -> Result<Next, Error> {
    let mut seen = observe(context, cluster, now).await?;
    let (plan, done) = act(context, valid, &mut seen, now).await;
    let step = &plan.step;
    let is_wait = matches!(step, Step::Wait { .. });
    // The step has changed an object with a status. The next round writes the rest of the status.
    let is_recorded = matches!(
        step,
        Step::Begin { .. }
            | Step::End
            | Step::RecordCluster { .. }
            | Step::RecordId { .. }
            | Step::DeleteMember { .. }
    );
    if is_recorded {
        return done.map(|()| Next::Soon);
    }
    let status = status::status(valid, &seen.observed, now, &plan);
    let members = status::member_statuses(valid, &seen.observed, now);
    write_status(context, &seen, &status, &members).await?;
    tell(key, context, &seen.cluster, &status).await;
    done?;
    let has_failed = seen.observed.failures != Failures::default();
    let next = next(&status, step, seen.next_renewal(), now);
    Ok(if is_wait || has_failed { next } else { Next::Soon })
}

/// Plans and does a step. Passes over a step that fails if no other step depends on it.
async fn act(
    context: &Context,
    valid: &Valid,
    seen: &mut Seen,
    now: Timestamp,
) -> (Plan, Result<(), Error>) {
    loop {
        let mut plan = (context.plan)(valid, &seen.observed, now);
        let done = apply(context, seen, &plan.step).await;
        if let Some(wait) = done.as_ref().err().and_then(deferred) {
            plan.step = wait;
            return (plan, Ok(()));
        }
        if !matches!(plan.step, Step::Wait { .. }) {
            context.metrics.step(event::name(&plan.step), done.is_ok());
            event::step(context, &seen.cluster, &plan.step, done.as_ref().err()).await;
        }
        let Err(error) = &done else { return (plan, done) };
        let is_final = error.is_conflict() || matches!(error, Error::Closed(_));
        if is_final || !seen.observed.failures.add(&plan.step, error.chain()) {
            return (plan, done);
        }
    }
}

/// The wait that takes the place of a step that the store refuses for now. The status tells the
/// wait, and no event does. If the wait lasts, the change becomes stuck, and an event tells that.
fn deferred(error: &Error) -> Option<Step> {
    Some(Step::Wait { reason: error.passing()?, until: None })
}

async fn refuse(
    key: &Key,
    context: &Context,
    cluster: QuorateCluster,
    refusals: &[Refusal],
    now: Timestamp,
) -> Result<Next, Error> {
    let status = status::refused(&cluster, refusals, now);
    let (objects, answers) = (Objects::default(), Answers::default());
    let seen = Seen { cluster, objects, answers, observed: Observed::default() };
    write_status(context, &seen, &status, &std::collections::BTreeMap::new()).await?;
    tell(key, context, &seen.cluster, &status).await;
    Ok(Next::Change)
}

/// Tells a new status by metrics, and changes of its conditions by events.
async fn tell(
    key: &Key,
    context: &Context,
    cluster: &QuorateCluster,
    status: &QuorateClusterStatus,
) {
    context.metrics.cluster(key, status);
    let before = cluster.status.as_ref().map_or(&[][..], |status| &status.conditions);
    event::conditions(context, cluster, before, &status.conditions).await;
}

/// When a cluster is looked at again, if nothing is to be done.
fn next(
    status: &QuorateClusterStatus,
    step: &Step,
    renewal: Option<Timestamp>,
    now: Timestamp,
) -> Next {
    let poll = match status.phase {
        _ if status.change.is_some() => POLL_CHANGE,
        Phase::Pending | Phase::Founding | Phase::Changing => POLL_CHANGE,
        Phase::Ready | Phase::Hibernated | Phase::Paused => POLL_IDLE,
        Phase::Degraded | Phase::Unavailable | Phase::Failed => POLL_UNWELL,
    };
    let until = match step {
        Step::Wait { until, .. } => *until,
        _ => None,
    };
    let renewal = renewal.filter(|renewal| *renewal > now);
    let Some(until) = until.into_iter().chain(renewal).min() else { return Next::After(poll) };
    let until = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
    // A little later than asked for: the plan counts whole seconds.
    Next::After(poll.min(until + Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::members;

    #[test]
    fn a_refusal_that_passes_by_itself_is_waited_for() {
        let refused = |source| Error::Store { doing: "promote main-3".to_owned(), source };
        let text = "main-1: etcdserver: unhealthy cluster".to_owned();
        let waits = deferred(&refused(members::Error::NotYet(text.clone()))).unwrap();
        let reason = "wait: promote main-3: not yet: main-1: etcdserver: unhealthy cluster";
        assert_eq!(waits.to_string(), reason);
        assert_eq!(deferred(&refused(members::Error::Refused(text.clone()))), None);
        assert_eq!(deferred(&refused(members::Error::Unreachable(text))), None);
        assert_eq!(deferred(&Error::TimedOut), None);
    }

    #[test]
    fn a_cluster_is_polled_by_its_state() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let status = |phase| QuorateClusterStatus { phase, ..QuorateClusterStatus::default() };
        let wait = |seconds: Option<i64>| Step::Wait {
            reason: String::new(),
            until: seconds.map(|seconds| now + SignedDuration::from_secs(seconds)),
        };
        let after = |seconds| Next::After(Duration::from_secs(seconds));
        let renewal = Some(now + SignedDuration::from_secs(2));
        assert_eq!(super::next(&status(Phase::Ready), &wait(Some(4)), renewal, now), after(3));
        let next = |status: &_, step: &_, now| super::next(status, step, None, now);
        assert_eq!(next(&status(Phase::Ready), &wait(None), now), after(15));
        assert_eq!(next(&status(Phase::Ready), &wait(Some(4)), now), after(5));
        assert_eq!(next(&status(Phase::Ready), &wait(Some(-4)), now), after(1));
        assert_eq!(next(&status(Phase::Changing), &wait(Some(600)), now), after(1));
        assert_eq!(next(&status(Phase::Unavailable), &wait(None), now), after(5));
    }
}
