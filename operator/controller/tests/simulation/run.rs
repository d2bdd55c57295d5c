//! Runs of a scenario: undisturbed, from the world that a crash left, with an operator that is
//! overtaken, and with lists that lag behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use quorate_controller::cluster::Planner;

use crate::calls::Calls;
use crate::course::{Course, Known};
use crate::lag;
use crate::notes::{Moment, Notes};
use crate::operator::Operator;
use crate::scenario::Scenario;
use crate::world::{Shared, World};

/// Rounds in which an operator at rest must write nothing.
const IDLE: usize = 20;

/// The results of an undisturbed run.
pub(crate) struct Run {
    /// The calls of the operator.
    pub(crate) calls: Vec<String>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) known: Known,
    /// The world at the end.
    pub(crate) end: World,
}

/// The outcome of an overtaken operator.
pub(crate) struct Overtaken {
    /// The worlds that were passed afterwards.
    pub(crate) passed: Known,
    /// The world at the end, unless the run came to a known world.
    pub(crate) end: Option<World>,
}

/// The world that a scenario begins with.
fn begin(scenario: &Scenario) -> Shared {
    let mut world = World::new();
    world.create(&scenario.spec);
    Arc::new(Mutex::new(world))
}

fn share(world: &World) -> Shared {
    Arc::new(Mutex::new(world.clone()))
}

/// Runs a scenario without a crash, and notes the world at each call.
///
/// # Errors
/// The failure, in words for a person.
pub(crate) async fn undisturbed(scenario: &Scenario, plan: Planner) -> Result<Run, String> {
    let world = begin(scenario);
    let notes = Arc::new(Notes::default());
    let look = {
        let (world, notes) = (Arc::clone(&world), Arc::clone(&notes));
        move || notes.look(&world.lock().unwrap())
    };
    let operator = Operator::new(&world, plan, Calls::watched(Box::new(look)));
    let nothing = Known::default();
    let mut course = Course::new(scenario, &world, operator, &nothing);
    course.run(0, |phase, world| notes.start(phase, world)).await?;
    let moments = notes.taken();
    let calls = course.calls();
    let end = world.lock().unwrap().clone();
    course.idle(IDLE).await?;
    Ok(Run { calls, moments, known: course.passed, end })
}

/// Runs the rest of a scenario with an operator that starts a second after another one crashed.
/// Returns the worlds that it passed, and the number of its rounds.
///
/// # Errors
/// The failure, in words for a person.
pub(crate) async fn resumed(
    scenario: &Scenario,
    moment: &Moment,
    known: &Known,
) -> Result<(Known, usize), String> {
    let world = share(&moment.world);
    world.lock().unwrap().pass(SignedDuration::from_secs(1));
    let operator = Operator::new(&world, PLAN, Calls::default());
    let mut course = Course::new(scenario, &world, operator, known);
    course.run(moment.phase, |_, _| {}).await?;
    Ok((course.passed, course.rounds))
}

/// The operator's own plan.
const PLAN: Planner = quorate_controller::cluster::plan::plan;

/// At the moment `from`, an operator begins a round, and halts before a write. It goes on at the
/// later moment `to`, in the world of another operator, which has done all the work. Then the other
/// operator goes on. Returns the outcome, or `None` if the round has no such write.
///
/// # Errors
/// The failure, in words for a person.
pub(crate) async fn overtaken(
    scenario: &Scenario,
    [from, to]: [&Moment; 2],
    write: usize,
    known: &Known,
) -> Result<Option<Overtaken>, String> {
    let world = share(&from.world);
    let halting = Operator::new(&world, PLAN, Calls::halting(write));
    let mut round = std::pin::pin!(halting.round());
    tokio::select! {
        _ = &mut round => return Ok(None),
        () = halting.calls.halted() => {}
    }
    world.lock().unwrap().clone_from(&to.world);
    world.lock().unwrap().checks.is_late = true;
    halting.calls.resume();
    // It may be refused, and must do no harm.
    drop(round.await);
    let operator = Operator::new(&world, PLAN, Calls::default());
    let mut course = Course::new(scenario, &world, operator, known);
    let is_end = course.run(to.phase, |_, _| {}).await?;
    let end = is_end.then(|| world.lock().unwrap().clone());
    Ok(Some(Overtaken { passed: course.passed, end }))
}

/// Runs a scenario with lists that lag behind. If the scenario has several phases, the lists lag
/// from the second phase on: with other names of the members, the later phases would not go as they
/// should. Returns the number of rounds.
///
/// # Errors
/// The failure, in words for a person.
pub(crate) async fn lagging(scenario: &Scenario, seed: u64) -> Result<usize, String> {
    let world = begin(scenario);
    world.lock().unwrap().checks.is_late = true;
    let lags = Arc::new(AtomicBool::new(false));
    let server = lag::server(&world, seed, &lags);
    let operator = Operator::over(server, &world, PLAN, Calls::default());
    let nothing = Known::default();
    let mut course = Course::new(scenario, &world, operator, &nothing);
    let first = scenario.phases.len().min(2) - 1;
    course.run(0, |phase, _| lags.store(phase >= first, Ordering::Relaxed)).await?;
    Ok(course.rounds)
}
