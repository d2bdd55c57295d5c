//! The parts that a world lacks, for a person.

use serde_json::Value;

use crate::world::{World, key};

/// The part that is missing until the cluster runs with some members.
pub(super) fn running(world: &World, members: usize) -> Option<String> {
    let cluster = world.cluster();
    let ready = format!("{members}/{members}");
    serving(world, members)
        .or_else(|| seen(world))
        .or_else(|| {
            let found = &cluster["status"]["ready"];
            (*found != ready.as_str()).then(|| format!("ready {ready}, not {found}"))
        })
        .or_else(|| in_phase(world, "Ready"))
}

/// The part that is missing until the store serves with exactly this many members.
pub(super) fn serving(world: &World, members: usize) -> Option<String> {
    let (voters, all) = (world.store.active_voters(), world.store.members.len());
    let objects = ["pods", "quoratemembers"].map(|plural| world.objects.all(plural).count());
    if voters != members || all != members {
        Some(format!("{members} members, not {voters} voters of {all}"))
    } else {
        (objects != [members; 2]).then(|| format!("{members} pods and records, not {objects:?}"))
    }
}

/// The part that is missing until the status is that of the present spec.
pub(super) fn seen(world: &World) -> Option<String> {
    let cluster = world.cluster();
    let is_seen = cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"];
    (!is_seen).then(|| "a status of this generation".to_owned())
}

pub(super) fn in_phase(world: &World, phase: &str) -> Option<String> {
    let present = &world.cluster()["status"]["phase"];
    (present != phase).then(|| format!("phase {phase}, not {present}"))
}

/// The part that is missing until a condition has a reason.
pub(super) fn says(world: &World, condition: &str, reason: &str) -> Option<String> {
    let conditions = world.cluster()["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|it| it["type"] == condition).map(|it| &it["reason"]);
    (found.is_none_or(|found| found != reason)).then(|| format!("{condition} for {reason}"))
}

/// The part that is missing until an object is gone.
pub(super) fn gone(world: &World, plural: &'static str, name: &str) -> Option<String> {
    world.objects.get(&key(plural, name)).map(|_| format!("no {plural} {name}"))
}

/// The part that is missing until an object is there.
pub(super) fn there(world: &World, plural: &'static str, name: &str) -> Option<String> {
    let found = world.objects.get(&key(plural, name));
    found.is_none().then(|| format!("{plural} {name}"))
}

/// The part that is missing until all objects of a kind are as they should be.
pub(super) fn every(
    world: &World,
    plural: &'static str,
    is_good: impl Fn(&Value) -> bool,
) -> Option<String> {
    let bad = world.objects.all(plural).find(|(_, object)| !is_good(object));
    bad.map(|(key, _)| format!("another {plural} {}", key.name))
}

/// The part that is missing until a change is under way.
pub(super) fn changing(world: &World, kind: &str) -> Option<String> {
    let found = &world.cluster()["status"]["change"]["kind"];
    (found != kind).then(|| format!("a change {kind}, not {found}"))
}

/// The part that is missing until the store has a learner.
pub(super) fn learning(world: &World) -> Option<String> {
    let learners = world.store.members.values().filter(|peer| peer.is_learner).count();
    (learners == 0).then(|| "a learner".to_owned())
}
