//! Operators overtake each other: one halts in the middle of a round, another one does the work,
//! and the first one goes on with its earlier observation.

use quorate_controller::cluster::plan::plan;
use tokio::runtime::{Builder, Runtime};

use crate::campaign::{self, Counts};
use crate::notes::Moment;
use crate::run::{self, Run};
use crate::scenario::{self, Scenario};
use crate::world::World;

/// The runs of each scenario by default.
const USUAL: usize = 30;
/// An operator halts before one of its first writes in a round.
const WRITES: usize = 4;
/// It goes on after so many rounds of the other one.
const LATER: [usize; 6] = [1, 2, 3, 5, 13, 55];

/// An operator halts in a round before a write, and goes on in a later round.
#[derive(Clone, Copy)]
struct Choice {
    from: usize,
    to: usize,
    write: usize,
}

/// The members of the store, and how often they were changed.
fn membership(world: &World) -> (u64, Vec<String>) {
    let names = world.store.members.values().map(|peer| peer.name.clone()).collect();
    (world.store.configuration, names)
}

fn rounds(run: &Run) -> Vec<&Moment> {
    run.moments.iter().filter(|it| it.starts).collect()
}

fn choices(run: &Run) -> Vec<Choice> {
    let rounds = rounds(run).len();
    let pairs = (0..rounds).flat_map(|from| LATER.map(|later| (from, from + later)));
    let pairs = pairs.filter(|(_, to)| *to < rounds);
    pairs.flat_map(|(from, to)| (1..=WRITES).map(move |write| Choice { from, to, write })).collect()
}

/// Lets operators be overtaken. None of them does harm, and the members change as often as in an
/// undisturbed run.
fn overtake(
    runtime: &Runtime,
    scenario: &Scenario,
    run: &Run,
    choices: &[Choice],
) -> Result<Counts, String> {
    let expected = membership(&run.end);
    let rounds = rounds(run);
    let (mut known, mut count, mut others) = (run.known.clone(), 0, 0);
    for &Choice { from, to, write } in choices {
        let pair = [rounds[from], rounds[to]];
        let outcome = runtime.block_on(run::overtaken(scenario, pair, write, &known));
        let place = format!("from round {from} to {to}, write {write}");
        let outcome = outcome.map_err(|error| format!("{place}: {error}"))?;
        let Some(overtaken) = outcome else { continue };
        count += 1;
        known.extend(overtaken.passed);
        let Some(end) = overtaken.end else { continue };
        others += 1;
        let found = membership(&end);
        if found != expected {
            return Err(format!("{place}: the members are {found:?}, not {expected:?}"));
        }
    }
    Ok(Counts::from([("operators overtaken", count), ("other ways to the end", others)]))
}

#[test]
fn an_overtaken_operator_does_no_harm() {
    campaign::each("overtaking", |runtime, scenario| {
        let run = runtime.block_on(run::undisturbed(scenario, plan))?;
        let choices = campaign::sample(&choices(&run), USUAL);
        overtake(runtime, scenario, &run, &choices)
    });
}

/// The store refuses a change of its members that expects another configuration. A store without
/// this fence is the planted mistake here.
#[test]
fn without_the_fence_of_the_store_harm_is_found() {
    let scenarios = scenario::all();
    let scenario = scenarios.iter().find(|it| it.name.starts_with("1, 3, 5")).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut run = runtime.block_on(run::undisturbed(scenario, plan)).unwrap();
    run.moments.iter_mut().for_each(|moment| moment.world.store.is_unfenced = true);
    let starts: Vec<usize> = rounds(&run).iter().map(|moment| moment.call).collect();
    let mut choices = choices(&run);
    choices.retain(|choice| {
        let calls = &run.calls[starts[choice.from]..starts[choice.from + 1]];
        choice.write == 1 && calls.iter().any(|call| call.starts_with("AddLearner"))
    });
    let harm = overtake(&runtime, scenario, &run, &choices).err();
    println!("no fence is caught: {}", harm.expect("the harm is found"));
}
