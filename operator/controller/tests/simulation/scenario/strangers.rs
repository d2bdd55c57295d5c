//! Other programs meddle with the cluster.

use serde_json::Value;

use super::state::{gone, running, says, there};
use super::{Scenario, rest, scenario, until};
use crate::world::World;

pub(super) fn all() -> Vec<Scenario> {
    let expel = rest(
        |world| world.expel("main-3"),
        |world| running(world, 3).or_else(|| gone(world, "quoratemembers", "main-3")),
    );
    let intrude = until(
        |world| {
            world.intrude();
            world.resize(1);
        },
        |world| says(world, "Degraded", "UnknownMember"),
    );
    let clean = rest(World::clean, |world| running(world, 1));
    let forget = rest(
        |world| world.forget("main-2"),
        |world| running(world, 3).or_else(|| there(world, "quoratemembers", "main-2")),
    );
    let status = rest(World::lose_status, |world| running(world, 3).or_else(|| identified(world)));
    let grow = rest(|world| world.resize(5), |world| running(world, 5));
    let budget = rest(
        |world| world.lose("poddisruptionbudgets", "main"),
        |world| running(world, 3).or_else(|| there(world, "poddisruptionbudgets", "main")),
    );
    let service = rest(
        |world| world.lose("services", "main-peer"),
        |world| running(world, 3).or_else(|| there(world, "services", "main-peer")),
    );
    vec![
        scenario("another program removes a member", 3, [expel]),
        scenario("another program adds a member", 3, [intrude, clean]),
        scenario("a record is lost", 3, [forget]),
        scenario("the status is lost", 3, [status, grow]),
        scenario("the disruption budget is lost", 3, [budget]),
        scenario("a Service is lost", 3, [service]),
    ]
}

/// The part that is missing until the status has the id of the cluster.
fn identified(world: &World) -> Option<String> {
    let id: &Value = &world.cluster()["status"]["clusterId"];
    id.is_null().then(|| "the id of the cluster".to_owned())
}
