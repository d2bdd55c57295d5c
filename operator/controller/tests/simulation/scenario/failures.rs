//! Members fail, and are replaced.

use serde_json::json;

use super::state::{changing, gone, learning, running, there};
use super::{Phase, Scenario, rest, scenario, until};
use crate::world::World;

pub(super) fn all() -> Vec<Scenario> {
    let node = rest(
        |world| world.lose_node("main-2"),
        |world| running(world, 3).or_else(|| gone(world, "quoratemembers", "main-2")),
    );
    let leader = rest(|world| world.lose_node(&leader(world)), |world| running(world, 3));
    let volume = rest(
        |world| world.lose_volume("main-1"),
        |world| running(world, 3).or_else(|| gone(world, "quoratemembers", "main-1")),
    );
    let hang = rest(
        |world| world.freeze("main-2"),
        |world| running(world, 3).or_else(|| gone(world, "quoratemembers", "main-2")),
    );
    let pod = rest(|world| world.lose("pods", "main-2"), |world| running(world, 3));
    let mut all = vec![
        scenario("a node is lost", 3, [node]),
        scenario("the leader's node is lost", 3, [leader]),
        scenario("a volume is lost", 3, [volume]),
        scenario("a member hangs", 3, [hang]),
        scenario("a pod is evicted", 3, [pod]),
    ];
    all.extend(changes());
    all
}

/// Failures while something changes.
fn changes() -> Vec<Scenario> {
    let hang = until(|world| world.freeze("main-3"), |world| changing(world, "Replace"));
    let back = rest(World::thaw, |world| {
        running(world, 3).or_else(|| there(world, "quoratemembers", "main-3"))
    });
    let grow = until(|world| world.resize(5), learning);
    let fail = rest(
        |world| world.lose_volume("main-3"),
        |world| running(world, 5).or_else(|| gone(world, "quoratemembers", "main-3")),
    );
    let learn = until(|world| world.resize(3), learning);
    let lose = rest(
        |world| world.lose_volume("main-2"),
        |world| running(world, 3).or_else(|| gone(world, "quoratemembers", "main-2")),
    );
    let update = until(
        |world| world.set("settings", json!({ "flags": { "max-txn-ops": "256" } })),
        |world| changing(world, "Update"),
    );
    let replace = until(
        |world| world.lose_volume("main-1"),
        |world| {
            let mut names = world.store.members.values().map(|peer| &peer.name);
            names.any(|name| name == "main-1").then(|| "no main-1 in the store".to_owned())
        },
    );
    let pod = rest(|world| world.lose("pods", "main-4"), |world| running(world, 3));
    vec![
        scenario("the pod of a replacement is lost", 3, [replace, pod]),
        scenario("a member comes back while it is replaced", 3, [hang, back]),
        scenario("a member fails while another one is added", 3, [grow, fail]),
        scenario("a learner loses its volume", 1, [learn, lose]),
        scenario("a member fails during an update", 3, [update, lost_leader()]),
    ]
}

fn lost_leader() -> Phase {
    rest(|world| world.lose_volume(&leader(world)), |world| running(world, 3))
}

fn leader(world: &World) -> String {
    let leader = world.leader();
    leader.to_owned()
}
