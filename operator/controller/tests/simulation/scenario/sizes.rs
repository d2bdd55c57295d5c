//! Founding, and other numbers of members.

use super::state::{gone, learning, running};
use super::{Scenario, rest, scenario, until};

pub(super) fn all() -> Vec<Scenario> {
    let grow = rest(|world| world.resize(5), |world| running(world, 5));
    let begin = rest(|world| world.resize(3), |world| running(world, 3));
    let end = rest(|world| world.resize(1), |world| running(world, 1));
    let add = until(|world| world.resize(3), learning);
    let take_back = rest(
        |world| world.resize(1),
        |world| running(world, 1).or_else(|| gone(world, "quoratemembers", "main-2")),
    );
    let hang = until(
        |world| world.freeze("main-1"),
        |world| ["", "main-1"].contains(&world.leader()).then(|| "another leader".to_owned()),
    );
    let shrink = rest(
        |world| world.resize(1),
        |world| running(world, 1).or_else(|| gone(world, "quoratemembers", "main-1")),
    );
    vec![
        scenario("one member", 1, []),
        scenario("three members", 3, []),
        scenario("1, 3, 5, 3, 1, 3 members", 1, [begin, grow, begin, end, begin]),
        scenario("an addition is taken back", 1, [add, take_back]),
        scenario("fewer members, one of which hangs", 3, [hang, shrink]),
    ]
}
