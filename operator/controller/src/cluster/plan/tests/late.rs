//! Rounds that take long: they are planned by an observation before an event, and carried out after
//! the event. The last round of an operator that has lost its Lease can be such a round, while the
//! next operator works.

use super::run::Run;
use super::world::{Event, World};
use crate::cluster::observed::{Member, Observed, Pod};
use crate::cluster::plan::plan;
use crate::cluster::step::Step;

/// How late a round is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    /// Its step arrives after so many rounds of another operator. The step was sent before the
    /// other operator had the Lease.
    Arrives(u8),
    /// The objects were read before the event, and the members are asked after it. No other
    /// operator works meanwhile: an operator that has lost the Lease asks nothing more.
    Asks,
}

impl Run {
    /// Observes, lets an event happen and another operator do some rounds, and then lets the step
    /// arrive that was planned by the observation.
    ///
    /// # Errors
    /// As for a round, or the rule that the late step breaks.
    pub(super) fn late(&mut self, event: &Event, late: Late) -> Result<(), String> {
        let (valid, mut observed) = (self.world.valid(), self.world.observed());
        let now = self.world.now;
        self.world.happen(event);
        match late {
            Late::Arrives(rounds) => {
                for _ in 0..rounds {
                    self.round()?;
                }
            }
            Late::Asks => take_answers(&mut observed, self.world.observed()),
        }
        let step = plan(&valid, &observed, now).step;
        if !may_arrive(&self.world, &observed, &step) {
            return Ok(());
        }
        self.checker.check_late(&self.world, &step)?;
        // A step that the store refuses is without effect.
        if self.world.apply(&step).is_ok() {
            self.log.push(format!("late: {step}"));
        }
        Ok(())
    }
}

/// Takes the answers of a later observation. A pod that was made since has another address.
fn take_answers(observed: &mut Observed, later: Observed) {
    observed.store = later.store;
    for (name, member) in &mut observed.members {
        let uid = |member: &Member| member.pod.as_ref().map(|pod| pod.uid.clone());
        let same = later.members.get(name).filter(|later| uid(later) == uid(member));
        member.answer = same.and_then(|later| later.answer.clone());
    }
}

/// Whether the API server, or the leader, accepts the request of a step that was planned by an
/// earlier observation. The store itself compares the configuration index.
fn may_arrive(world: &World, observed: &Observed, step: &Step) -> bool {
    let body = |member: &str| world.bodies.get(member);
    let recorded = |member: &str| body(member).filter(|body| body.is_recorded);
    match step {
        // The status has a resource version.
        Step::Begin { .. } | Step::End | Step::RecordCluster { .. } => {
            world.status == observed.status
        }
        Step::RecordId { member, .. } => {
            let before = observed.members.get(member);
            recorded(member).is_some_and(|body| {
                let is_same = |before: &&_| **before == body.member.unreachable_since;
                body.member.id.is_none()
                    && before.map(|it| &it.unreachable_since).filter(is_same).is_some()
            })
        }
        // An object that exists is not created again, and an object without an owner does not stay.
        Step::CreateMember { member, .. } => recorded(member).is_none(),
        Step::CreateVolume { member, .. } => {
            body(member).is_some_and(|body| body.member.volume.is_none())
        }
        Step::CreatePod { member, .. } => {
            recorded(member).is_some_and(|body| body.member.pod.is_none())
        }
        // Changes and deletions name the uid.
        Step::LabelVoter { member } => {
            let uid = |pod: Option<&Pod>| pod.map(|pod| pod.uid.clone());
            let before = observed.members.get(member).and_then(|it| it.pod.as_ref());
            let now = recorded(member).and_then(|body| body.member.pod.as_ref());
            now.is_some() && uid(before) == uid(now)
        }
        Step::DeletePod { member, .. } | Step::DeleteMember { member } => {
            recorded(member).is_some()
        }
        Step::KeepVolume { member, .. } | Step::GrowVolume { member, .. } => body(member).is_some(),
        _ => true,
    }
}
