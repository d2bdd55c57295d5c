//! The course of a scenario: an operator works through its phases.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::operator::Operator;
use crate::scenario::{Phase, Scenario};
use crate::world::{Fingerprint, Shared, World};

/// Rounds of work after which a phase should long be over.
const ROUNDS: usize = 600;
/// Rounds without a change after which a world is at rest.
const REST: usize = 3;

/// The worlds from which scenarios were seen to end well.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// By the phase: the worlds in which a round began.
    rounds: BTreeSet<(usize, Fingerprint)>,
    /// The worlds at the ends of phases.
    ends: BTreeSet<(usize, Fingerprint)>,
}

impl Known {
    /// Adds the worlds of another run that has ended well.
    pub(crate) fn extend(&mut self, other: Self) {
        self.rounds.extend(other.rounds);
        self.ends.extend(other.ends);
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The next one begins.
    Over,
    /// An earlier run came to the same world, and ended well.
    Known,
}

/// A scenario with the operator that works in it.
pub(crate) struct Course<'a> {
    scenario: &'a Scenario,
    world: Shared,
    operator: Operator,
    /// The worlds at which the course may end early.
    known: &'a Known,
    /// The worlds of this course.
    pub(crate) passed: Known,
    /// How many rounds it took.
    pub(crate) rounds: usize,
}

impl<'a> Course<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        world: &Shared,
        operator: Operator,
        known: &'a Known,
    ) -> Self {
        let (world, passed) = (Shared::clone(world), Known::default());
        Self { scenario, world, operator, known, passed, rounds: 0 }
    }

    /// Works from within a phase to the end of the scenario. `starts` is told each phase in which a
    /// round starts. Returns whether it came to the end, and not to a known world before.
    ///
    /// # Errors
    /// The failure, in words for a person.
    pub(crate) async fn run(
        &mut self,
        from: usize,
        starts: impl Fn(usize, &World),
    ) -> Result<bool, String> {
        for (number, phase) in self.scenario.phases.iter().enumerate().skip(from) {
            if number > from {
                (phase.act)(&mut self.world.lock().unwrap());
            }
            let end = self.work(number, phase, &starts).await;
            let end = end.map_err(|error| format!("in phase {number}: {error}"))?;
            if end == End::Known {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn work(
        &mut self,
        number: usize,
        phase: &Phase,
        starts: impl Fn(usize, &World),
    ) -> Result<End, String> {
        let mut quiet = 0;
        let mut errors = Vec::new();
        for _ in 0..ROUNDS {
            let before = {
                let world = self.world.lock().unwrap();
                let place = (number, world.fingerprint());
                if self.known.rounds.contains(&place) {
                    return Ok(End::Known);
                }
                self.passed.rounds.insert(place);
                starts(number, &world);
                world.version()
            };
            let next = self.operator.round().await;
            self.rounds += 1;
            let mut world = self.world.lock().unwrap();
            world.pass(*next.as_ref().unwrap_or(&SignedDuration::ZERO));
            errors.extend(next.err());
            quiet = if world.version() == before { quiet + 1 } else { 0 };
            let is_over = (phase.lacks)(&world).is_none();
            if is_over && phase.rests && quiet >= REST {
                world.check_rest();
            }
            if let Some(broken) = world.checks.broken.first() {
                return Err(broken.clone());
            }
            if is_over && phase.rests && quiet >= REST {
                let place = (number, world.fingerprint_at_rest());
                let is_known = self.known.ends.contains(&place);
                self.passed.ends.insert(place);
                return Ok(if is_known { End::Known } else { End::Over });
            }
            if is_over && !phase.rests {
                return Ok(End::Over);
            }
        }
        Err(self.lacks(phase, errors))
    }

    fn lacks(&self, phase: &Phase, mut errors: Vec<String>) -> String {
        let world = self.world.lock().unwrap();
        let lacks = (phase.lacks)(&world).unwrap_or_else(|| "an end of changes".to_owned());
        let status = &world.cluster()["status"];
        errors.dedup();
        format!("it lacks {lacks}; errors {errors:#?}; status {status:#}")
    }

    /// An operator at rest writes nothing in so many rounds.
    ///
    /// # Errors
    /// The failure, in words for a person.
    pub(crate) async fn idle(&self, rounds: usize) -> Result<(), String> {
        let before = self.world.lock().unwrap().version();
        for _ in 0..rounds {
            let next = self.operator.round().await?;
            self.world.lock().unwrap().pass(next);
        }
        let after = self.world.lock().unwrap().version();
        if after == before { Ok(()) } else { Err("an idle operator writes".to_owned()) }
    }

    /// The calls of the operator, for a person.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.operator.calls.made()
    }
}
