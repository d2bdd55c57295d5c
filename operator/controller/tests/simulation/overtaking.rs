//! Operators overtake each other: one halts in the middle of a round, another one does the work,
//! and the first one goes on with what it saw before.

use quorate_controller::cluster::plan::plan;

use crate::campaign::{self, Counts};
use crate::notes::Moment;
use crate::run;
use crate::world::World;

/// The runs of each scenario in a test without further wishes.
const USUAL: usize = 30;
/// An operator halts before one of its first writes in a round.
const WRITES: usize = 4;
/// It goes on after so many rounds of the other one.
const LATER: [usize; 6] = [1, 2, 3, 5, 13, 55];

/// The members of the store, and how often they were changed.
fn membership(world: &World) -> (u64, Vec<String>) {
    let names = world.store.members.values().map(|peer| peer.name.clone()).collect();
    (world.store.configuration, names)
}

#[test]
fn an_overtaken_operator_does_no_harm() {
    campaign::each("overtaking", |runtime, scenario| {
        let run = runtime.block_on(run::undisturbed(scenario, plan))?;
        let expected = membership(&run.end);
        let rounds: Vec<&Moment> = run.moments.iter().filter(|it| it.starts).collect();
        let possible = (0..rounds.len()).flat_map(|from| {
            let ends = LATER.map(|later| from + later);
            let ends = ends.into_iter().filter(|to| *to < rounds.len());
            ends.flat_map(move |to| (1..=WRITES).map(move |write| (from, to, write)))
        });
        let possible: Vec<(usize, usize, usize)> = possible.collect();
        let (mut known, mut count, mut others) = (run.known.clone(), 0, 0);
        for (from, to, write) in campaign::sample(&possible, USUAL) {
            let pair = [rounds[from], rounds[to]];
            let outcome = runtime.block_on(run::overtaken(scenario, pair, write, &known));
            let near = run.calls.get(rounds[from].call);
            let place = format!("from round {from} (call {near:?}) to {to}, write {write}");
            let outcome = outcome.map_err(|error| format!("{place}: {error}"))?;
            let Some(overtaken) = outcome else { continue };
            count += 1;
            known.extend(overtaken.passed);
            if let Some(end) = overtaken.end {
                others += 1;
                if membership(&end) != expected {
                    let found = membership(&end);
                    return Err(format!("{place}: the members are {found:?}, not {expected:?}"));
                }
            }
        }
        Ok(Counts::from([("operators overtaken", count), ("other ways to the end", others)]))
    });
}
