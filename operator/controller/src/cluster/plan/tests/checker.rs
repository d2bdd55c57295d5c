//! The rules for every step, in every world. The checker judges by the truth of the world, not by
//! the observations.

use std::collections::{BTreeMap, BTreeSet};

use quorate_crd::v1alpha1::{Change, ChangeKind};

use super::world::World;
use crate::cluster::observed::{StoreMember, Volume};
use crate::cluster::step::Step;

/// The names and numbers that earlier steps have used up.
#[derive(Clone, Debug, Default)]
pub(super) struct Checker {
    /// The highest number that a member with a volume ever had.
    highest: i64,
    /// The members with a volume whose records the operator deleted.
    retired: BTreeSet<String>,
    /// The id of each peer URL that was ever in the store.
    ids: BTreeMap<String, u64>,
    /// Whether a store was ever founded.
    is_founded: bool,
}

impl Checker {
    /// Judges a step before it is carried out.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn check(&mut self, world: &World, step: &Step) -> Result<(), String> {
        let broken = one_change(world, step)
            .or_else(|| keeps_quorum(world, step))
            .or_else(|| moves_the_leader(world, step))
            .or_else(|| admits_no_eviction(world, step))
            .or_else(|| clears_only_the_removed(world, step))
            .or_else(|| leaves_room(world, step))
            .or_else(|| self.uses_no_name_twice(world, step))
            .or_else(|| self.founds_once(world, step));
        broken.map_or(Ok(()), |rule| Err(format!("{step}: {rule}")))
    }

    /// Judges a step that arrives late. Its sender could not know that another voter has failed
    /// meanwhile, or that the change has moved on.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(super) fn check_late(&mut self, world: &World, step: &Step) -> Result<(), String> {
        let broken = clears_only_the_removed(world, step).or_else(|| self.founds_once(world, step));
        broken.map_or(Ok(()), |rule| Err(format!("late: {step}: {rule}")))
    }

    fn uses_no_name_twice(&mut self, world: &World, step: &Step) -> Option<&'static str> {
        let rule = "a name is used twice";
        // A record that had no volume yet leaves nothing that another member could meet.
        let used = world.bodies.values().filter(|body| body.member.volume.is_some());
        let numbers = used.map(|body| body.member.number);
        // Without status, records and claims no name could be known as used.
        if world.last_number() == 0 && world.status.cluster_id.is_none() {
            self.highest = 0;
        }
        self.highest = numbers.chain([self.highest]).max().unwrap_or_default();
        for stored in world.raft.iter().flat_map(|raft| &raft.members) {
            let id = *self.ids.entry(stored.peer_url.clone()).or_insert(stored.id);
            let name = world.name(stored);
            if id != stored.id && !name.is_empty() && !world.forgotten.contains(&name) {
                return Some(rule);
            }
        }
        match step {
            Step::Begin { change, .. } => {
                let number = change.member.rsplit('-').next().and_then(|it| it.parse().ok());
                let is_there = world.bodies.get(&change.member).is_some_and(|it| it.is_recorded);
                let is_new = number.is_none_or(|number: i64| number > self.highest);
                let now = world.status.change.as_ref().map(|change| &change.member);
                let goes_on = now == Some(&change.member);
                (!is_there && !is_new && !goes_on).then_some(rule)
            }
            // A member that was added late has a kept volume at most, which nothing uses.
            Step::CreateMember { member, .. } => {
                (self.retired.contains(member) && world.stored(member).is_none()).then_some(rule)
            }
            Step::AddLearner { peer_url, member, .. } => {
                let is_known = world.stored(member).is_some() || world.forgotten.contains(member);
                (!is_known && self.ids.contains_key(peer_url)).then_some(rule)
            }
            Step::DeleteMember { member } => {
                if world.bodies.get(member).is_some_and(|body| body.member.volume.is_some()) {
                    self.retired.insert(member.clone());
                }
                None
            }
            _ => None,
        }
    }

    fn founds_once(&mut self, world: &World, step: &Step) -> Option<&'static str> {
        let tells = |volume: &Volume| !volume.is_deleted && !volume.is_kept;
        let mut bodies = world.bodies.values();
        let is_known =
            bodies.any(|body| body.is_recorded || body.member.volume.as_ref().is_some_and(tells));
        // Without status, records and claims there is no cluster that could be founded twice.
        self.is_founded &= is_known;
        self.is_founded |= world.status.cluster_id.is_some();
        let founds = match step {
            Step::CreateMember { founds, .. } | Step::CreatePod { founds, .. } => *founds,
            _ => false,
        };
        (founds && self.is_founded).then_some("a cluster is founded twice")
    }
}

/// The members that a change may touch.
fn touched(change: &Change) -> [&str; 2] {
    [&change.member, change.replaces.as_deref().unwrap_or_default()]
}

fn one_change(world: &World, step: &Step) -> Option<&'static str> {
    let change = world.status.change.as_ref();
    let touches = |member: &str| change.is_some_and(|change| touched(change).contains(&member));
    let is_stored = |member: &str| world.stored(member).is_some();
    let is_allowed = match step {
        Step::Begin { change: next, .. } => change.is_none_or(|now| {
            let goes_on = matches!(now.kind, ChangeKind::Add | ChangeKind::Replace)
                && matches!(next.kind, ChangeKind::Replace | ChangeKind::Remove)
                && now.member == next.member;
            let is_same = (now.kind, touched(now)) == (next.kind, touched(next));
            goes_on || is_same || next.kind == ChangeKind::Hibernate
        }),
        // The record of a member of the store is made again whenever it is lost. So is that of a
        // member whose volume is there: it must be marked as kept.
        Step::CreateMember { member, .. } => {
            touches(member) || is_stored(member) || world.orphans().contains(member)
        }
        Step::AddLearner { member, .. }
        | Step::Promote { member, .. }
        | Step::RemoveFromStore { member, .. }
        | Step::MoveLeader { from: member, .. }
        | Step::CreateVolume { member, .. }
        | Step::KeepVolume { member, .. }
        | Step::DeleteMember { member } => touches(member),
        Step::DeletePod { member, .. } if is_serving(world, member) => {
            let hibernates = change.is_some_and(|change| change.kind == ChangeKind::Hibernate);
            touches(member) || hibernates
        }
        _ => true,
    };
    let learners = world.raft.iter().flat_map(|raft| &raft.members).filter(|it| it.is_learner);
    let is_second = matches!(step, Step::AddLearner { .. }) && learners.count() > 0;
    (!is_allowed || is_second).then_some("two changes at once")
}

/// Whether the member is a voter that serves.
fn is_serving(world: &World, member: &str) -> bool {
    world.voters().contains(&(member.to_owned(), true)) && world.has_quorum()
}

fn hibernates(world: &World) -> bool {
    let change = world.status.change.as_ref();
    change.is_some_and(|change| change.kind == ChangeKind::Hibernate)
}

fn keeps_quorum(world: &World, step: &Step) -> Option<&'static str> {
    let voters = world.voters();
    let alive_without =
        |member: &str| voters.iter().filter(|(name, is_alive)| *is_alive && name != member).count();
    let is_voter = |member: &str| voters.iter().any(|(name, _)| name == member);
    let is_kept = match step {
        Step::RemoveFromStore { member, .. } if is_voter(member) => {
            voters.len() > 1 && alive_without(member) > (voters.len() - 1) / 2
        }
        Step::DeletePod { member, .. } if is_serving(world, member) && voters.len() > 1 => {
            hibernates(world) || alive_without(member) > voters.len() / 2
        }
        Step::Promote { member, .. } => {
            let alive = alive_without("") + usize::from(world.is_alive(member));
            alive > voters.len().div_ceil(2)
        }
        _ => true,
    };
    (!is_kept).then_some("no majority is left")
}

fn moves_the_leader(world: &World, step: &Step) -> Option<&'static str> {
    let (Step::DeletePod { member, .. } | Step::RemoveFromStore { member, .. }) = step else {
        return None;
    };
    let mut others = world.voters().into_iter().filter(|(name, _)| name != member);
    let leads = world.leader().as_ref() == Some(member) && is_serving(world, member);
    let is_touched = leads && others.any(|(_, is_alive)| is_alive) && !hibernates(world);
    is_touched.then_some("the leader is touched before another one leads")
}

fn admits_no_eviction(world: &World, step: &Step) -> Option<&'static str> {
    let member = match step {
        Step::DeletePod { member, .. } if !hibernates(world) => member,
        Step::RemoveFromStore { member, .. } => member,
        _ => return None,
    };
    let is_vulnerable = is_serving(world, member) && world.evictable() > 0;
    is_vulnerable.then_some("another voter may be evicted at the same time")
}

/// A replacement is placed when the failed member no longer counts for its host. Once the
/// replacement votes, or without a majority, the replacement may be needed, and does not wait for
/// another pod.
fn leaves_room(world: &World, step: &Step) -> Option<&'static str> {
    let Step::CreatePod { member, .. } = step else { return None };
    let change = world.status.change.as_ref().filter(|change| change.member == *member)?;
    let replaced = change.replaces.as_deref()?;
    let failed = world.bodies.get(replaced)?;
    let pod = failed.member.pod.as_ref()?;
    let is_overdue = pod.ends_by.is_some_and(|at| at <= world.now);
    let is_learner = world.stored(member).is_some_and(|stored| stored.is_learner);
    let serves = is_serving(world, replaced) && !pod.is_deleted;
    let counts = is_learner && world.has_quorum() && !serves && !pod.is_node_lost && !is_overdue;
    counts.then_some("the replacement finds the host taken")
}

fn clears_only_the_removed(world: &World, step: &Step) -> Option<&'static str> {
    let (Step::KeepVolume { member, .. }
    | Step::DeleteMember { member }
    | Step::DeletePod { member, force: true, .. }) = step
    else {
        return None;
    };
    let stored: Option<&StoreMember> = world.stored(member);
    stored.map(|_| "the member is still part of the store")
}
