//! Hibernation, pause and deletion.

use serde_json::json;

use super::state::{in_phase, learning, running};
use super::{Phase, Scenario, rest, scenario, until};
use crate::world::World;

pub(super) fn all() -> Vec<Scenario> {
    let wake = rest(|world| world.set("hibernated", json!(false)), |world| running(world, 3));
    let add = until(|world| world.resize(3), learning);
    let pause = rest(
        |world| {
            world.set("paused", json!(true));
            world.resize(1);
        },
        |world| in_phase(world, "Paused"),
    );
    let resume = rest(|world| world.set("paused", json!(false)), |world| running(world, 1));
    let again = rest(
        |world| world.create(&json!({ "members": 3 })),
        |world| running(world, 3).or_else(|| claims(world, 6)),
    );
    vec![
        scenario("hibernated and woken", 3, [sleep(true), wake]),
        scenario("hibernated while a member is added", 1, [add, sleep(false), wake]),
        scenario("paused and resumed", 3, [pause, resume]),
        scenario("deleted, and created again", 3, [deletion(), again]),
    ]
}

fn sleep(rests: bool) -> Phase {
    let phase = rest(
        |world| world.set("hibernated", json!(true)),
        |world| {
            let pods = world.objects.all("pods").count();
            in_phase(world, "Hibernated").or_else(|| (pods > 0).then(|| format!("{pods} pods")))
        },
    );
    Phase { rests, ..phase }
}

fn deletion() -> Phase {
    rest(World::delete, |world| {
        let plurals = ["pods", "quoratemembers", "secrets", "services"];
        let left = plurals.iter().find(|plural| world.objects.all(plural).count() > 0);
        left.map(|left| format!("no {left}")).or_else(|| claims(world, 3))
    })
}

fn claims(world: &World, wanted: usize) -> Option<String> {
    let found = world.objects.all("persistentvolumeclaims").count();
    (found != wanted).then(|| format!("{wanted} claims, not {found}"))
}
