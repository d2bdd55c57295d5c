//! Proves that what clients saw can have happened, and that nothing of it was lost.
//!
//! Every answer names a revision, and so does every event; that makes the proof linear. What was
//! written is read back after each fault ([`crate::history::Audit`]) and taken into a model of all
//! versions, which checks that every event follows from those before it. Then:
//!
//! - `explain`: every revision was written by exactly one operation, every acknowledged write
//!   stands where it was acknowledged, and operations of unknown outcome happened once or never;
//! - `order`: revisions agree with real time, and nothing moves back;
//! - `replay`: every answer is what the model held at the answer's revision;
//! - `watches`: every watch was told what was written, each event once and in order;
//! - `leases`: leases exist from grant to end, with their keys;
//! - `maintenance`: what is compacted is gone and nothing else, and hashes stay what they were.
//!
//! A checker goes on from one audit to the next and remembers no more than the versions that are
//! not compacted. It knows nothing of servers: a history of any number of members can be checked.

mod evaluate;
mod explain;
mod leases;
mod maintenance;
mod model;
mod order;
mod replay;
#[cfg(test)]
mod tests;
mod violation;
mod watches;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use quorate_proto::mvccpb::Event;

use self::leases::Leases;
use self::maintenance::Maintenance;
pub use self::model::{Change, Keys, Model, Version};
use self::order::{Floor, Order};
pub use self::violation::{Rule, Violation};
use self::watches::Watches;
use crate::history::{History, Moment, Operation, Outcome, Request};

/// Checks one history after the other.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    model: Model,
    order: Order,
    leases: Leases,
    maintenance: Maintenance,
    watches: Watches,
    tally: Tally,
    /// How long an operation of unknown outcome may take to happen.
    patience: Duration,
    /// Those that did not happen yet.
    late: Vec<Operation>,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations of any outcome.
    pub operations: usize,
    /// Writes with an answer.
    pub acknowledged: usize,
    /// Operations of unknown outcome that may have written.
    pub unknown: usize,
    /// Those of them that turned out to be carried out.
    pub unknown_written: usize,
    /// Those of these that were carried out only after everything before had been audited.
    pub late_written: usize,
    /// Answers held against the model.
    pub replayed: usize,
    /// Events that watches were told.
    pub watched: usize,
    /// Leases that expired with keys.
    pub expired: usize,
    /// Hashes that could be compared with one taken before.
    pub hashes: usize,
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { operations, acknowledged, unknown, unknown_written, late_written, .. } = self;
        let Self { replayed, watched, expired, hashes, .. } = self;
        write!(
            f,
            "{operations} operations ({acknowledged} acknowledged writes, {unknown} writes of \
             unknown outcome of which {unknown_written} happened, {late_written} of them late), \
             {replayed} answers replayed, {watched} events watched, {expired} leases expired, \
             {hashes} hashes compared"
        )
    }
}

impl Checker {
    /// What the store must hold.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How much was checked.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// A checker for which an operation of unknown outcome may happen up to `patience` after it was
    /// invoked, whatever was audited meanwhile: a network may keep for long what was sent.
    pub fn patient(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The same for disks that are filled: then what adds data may be refused for want of space.
    pub fn with_full_disks(mut self) -> Self {
        self.maintenance.expect_full_disks();
        self
    }

    /// Leases that must exist at a moment.
    pub fn leases(&self, at: Moment) -> Vec<i64> {
        self.leases.lasting(at)
    }

    /// Whether a lease can exist at a moment although nothing but time has to pass.
    pub fn may_last(&self, lease: i64, at: Moment) -> bool {
        self.leases.may_last(lease, at)
    }

    /// Checks what happened since the last history, whose audit must have ended before this one
    /// began. No operation of it that is of unknown outcome may happen later than the checker's
    /// patience allows.
    ///
    /// # Errors
    /// The first violation; the checker is of no use afterwards.
    pub fn check(&mut self, mut history: History) -> Result<(), Violation> {
        let after = self.model.revision();
        let (mut floors, told) = self.order.floors(&history);
        self.order.check_identities()?;
        self.leases.learn(&history.operations);
        self.watches.learn(&history.operations);
        let fresh = history.operations.len();
        history.operations.append(&mut self.late);
        // Everything in this period comes after what they followed.
        floors.resize_with(history.operations.len(), Floor::default);
        self.model.extend(&history.audit.events)?;
        let explained =
            explain::explain(&history, after, &self.model, &self.leases, (&floors, &told))?;
        order::check(&history, &floors, &explained)?;
        self.tally.hashes += self.maintenance.check(&history, &floors)?;
        self.tally.replayed += replay::check(&history.operations, &self.model, &explained)?;
        self.leases.check(&history, after, &self.model, &explained, &floors, self.patience)?;
        let History { operations, observations, audit } = history;
        self.tally.watched += self.watches.check(observations, &self.model, audit.since)?;
        self.model.compact(self.maintenance.compacted());

        let tally = &mut self.tally;
        tally.operations += fresh;
        tally.expired += explained.expired.len();
        tally.unknown_written += explained.unknown_written(&operations, 0);
        tally.late_written += explained.unknown_written(&operations, fresh);
        for operation in
            operations.iter().take(fresh).filter(|operation| operation.request.may_write())
        {
            match &operation.outcome {
                Outcome::Answered(_) => tally.acknowledged += 1,
                Outcome::Unknown(_) => tally.unknown += 1,
                Outcome::Refused(..) | Outcome::Unheard(_) => {}
            }
        }
        let now = audit.until.elapsed;
        let patience = self.patience;
        let open = operations.into_iter().enumerate().filter(|(place, operation)| {
            let may_change =
                operation.request.may_write() || matches!(operation.request, Request::Compact(_));
            operation.is_unknown()
                && may_change
                && explained.written(*place).is_none()
                && operation.invoked.elapsed + patience > now
        });
        self.late = open.map(|(_, operation)| operation).collect();
        Ok(())
    }

    /// Checks that the whole history is what it was, from right behind the compacted revision up to
    /// the last one that was checked. `events` come with the values before.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_again(&self, events: &[Event]) -> Result<(), Violation> {
        let revisions = self.model.compacted() + 1..=self.model.revision();
        let changes = revisions.clone().flat_map(|revision| self.model.changes(revision));
        let mut due = changes.map(|change| change.event(true));
        let mut found = events.iter();
        loop {
            match (due.next(), found.next()) {
                (None, None) => return Ok(()),
                (due, found) if due.as_ref() == found => {}
                (due, found) => {
                    let what = format!("in {revisions:?}, there was {due:?}, now {found:?}");
                    return Err(Violation::new(Rule::BrokenEvents, what));
                }
            }
        }
    }
}
