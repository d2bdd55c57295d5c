//! Rounds of the operator in the world: observe, plan, check, write the status, carry out.

use jiff::{SignedDuration, Timestamp};

use super::checker::Checker;
use super::world::World;
use crate::cluster::failures::Failures;
use crate::cluster::plan::Plan;
use crate::cluster::step::Step;

/// After so many ticks without a step or a movement, nothing more happens by itself.
const QUIET_TICKS: u32 = 3;
/// No change takes more rounds.
const ROUNDS_MAX: u32 = 3000;
/// More steps in a row, without a wait between them, have no end.
const STEPS_MAX: u32 = 60;

/// Plans by the state that the world shows the operator.
pub(super) type Planner = fn(&World) -> Plan;

/// The operator in the world.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) world: World,
    pub(super) checker: Checker,
    planner: Planner,
    /// How many steps were done since the operator waited last.
    busy: u32,
    /// The steps and the waits, in words.
    pub(super) log: Vec<String>,
}

impl Run {
    pub(super) fn new(members: i32) -> Self {
        Self::with(members, World::plan)
    }

    /// With another plan than that of the operator.
    pub(super) fn with(members: i32, planner: Planner) -> Self {
        let (world, checker) = (World::new(members), Checker::default());
        Self { world, checker, planner, busy: 0, log: Vec::new() }
    }

    /// One round. After a step that waits, time passes.
    ///
    /// # Errors
    /// The rule that the step breaks, or why the world refuses it.
    pub(super) fn round(&mut self) -> Result<bool, String> {
        self.world.failures = Failures::default();
        let mut plan = (self.planner)(&self.world);
        while self.world.refuses(&plan.step) {
            self.checker.check(&self.world, &plan.step)?;
            self.world.apply(&plan.step)?;
            let text = format!("{}: refused", plan.step);
            if self.log.iter().rev().take(4).all(|line| *line != text) {
                self.log.push(text.clone());
            }
            if !self.world.failures.add(&plan.step, text) {
                return Err(format!("{} is planned again", plan.step));
            }
            plan = (self.planner)(&self.world);
        }
        self.checker.check(&self.world, &plan.step)?;
        self.world.write_status(&plan);
        let text = plan.step.to_string();
        let waits = matches!(plan.step, Step::Wait { .. });
        self.busy = if waits { 0 } else { self.busy + 1 };
        if self.busy > STEPS_MAX {
            return Err(format!("steps without end: {text}"));
        }
        if !waits || self.log.last() != Some(&text) {
            self.log.push(text.clone());
        }
        self.world.apply(&plan.step).map_err(|refusal| format!("{text}: refused: {refusal}"))?;
        if waits {
            self.world.tick();
        }
        Ok(waits)
    }

    /// Rounds until nothing moves by itself.
    ///
    /// # Errors
    /// As for a round, or if there is no end.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let waits = self.round()?;
            quiet = if waits && !self.world.moves() { quiet + 1 } else { 0 };
            if quiet > QUIET_TICKS {
                return Ok(());
            }
        }
        let last = self.log.iter().rev().take(12).rev().cloned();
        Err(format!("no end:\n{}", last.collect::<Vec<_>>().join("\n")))
    }

    /// Rounds until a span of time has passed.
    ///
    /// # Errors
    /// As for a round.
    pub(super) fn pass(&mut self, span: SignedDuration) -> Result<(), String> {
        let end: Timestamp = self.world.now + span;
        while self.world.now < end {
            self.round()?;
        }
        Ok(())
    }
}
