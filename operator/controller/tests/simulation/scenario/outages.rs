//! The store does not serve.

use super::state::{in_phase, running, says};
use super::{Scenario, rest, scenario, until};
use crate::world::World;

pub(super) fn all() -> Vec<Scenario> {
    let outage = until(
        |world| {
            world.freeze("main-1");
            world.freeze("main-2");
        },
        |world| says(world, "Available", "QuorumLost"),
    );
    let back = rest(World::thaw, |world| running(world, 3));
    let pods = rest(
        |world| ["main-1", "main-2", "main-3"].iter().for_each(|it| world.lose("pods", it)),
        |world| running(world, 3),
    );
    let only = rest(
        |world| world.lose_volume("main-1"),
        |world| says(world, "Available", "QuorumLost").or_else(|| in_phase(world, "Unavailable")),
    );
    vec![
        scenario("a majority hangs for a while", 3, [outage, back]),
        scenario("all pods are deleted", 3, [pods]),
        scenario("the only volume is lost", 1, [only]),
    ]
}
