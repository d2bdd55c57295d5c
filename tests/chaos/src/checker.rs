//! Proves that a history is possible and that no acknowledged write is lost.
//!
//! Every response and every event carries a revision, which makes the proof linear. After each
//! fault the events are read back ([`crate::history::Audit`]) into a model of all versions, which
//! checks that every event follows from those before it. Then:
//!
//! - `explain`: exactly one operation wrote each revision, every acknowledged write is at its
//!   acknowledged revision, and operations of unknown outcome happened at most once;
//! - `order`: revisions agree with real time, and no member's revision, term or index decreases;
//! - `replay`: every response agrees with the model at the revision of the response;
//! - `watches`: every watch got the written events, each once and in order;
//! - `leases`: leases exist from grant to end, with their keys;
//! - `maintenance`: compactions remove the old history and nothing else, and hashes do not change.
//!
//! A checker continues from one audit to the next and keeps only the versions that are not
//! compacted. It does not depend on how many members there are.

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

/// Checks consecutive histories.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    model: Model,
    order: Order,
    leases: Leases,
    maintenance: Maintenance,
    watches: Watches,
    tally: Tally,
    /// How long after its invocation an operation of unknown outcome may be applied.
    patience: Duration,
    /// Operations of unknown outcome that may still be applied.
    late: Vec<Operation>,
}

/// The counts of the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations of any outcome.
    pub operations: usize,
    /// Answered writes.
    pub acknowledged: usize,
    /// Operations of unknown outcome that may have written.
    pub unknown: usize,
    /// Those of `unknown` that were applied.
    pub unknown_written: usize,
    /// Those of `unknown_written` that were applied only after the audit of their period.
    pub late_written: usize,
    /// Responses compared with the model.
    pub replayed: usize,
    /// Events that watches received.
    pub watched: usize,
    /// Leases that expired with keys attached.
    pub expired: usize,
    /// Hashes compared with an earlier hash of the same revisions.
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
    /// The expected state of the store.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The counts of the checks.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// A checker that allows an operation of unknown outcome to be applied up to `patience` after
    /// its invocation, in a later period too: a network can delay a request for long.
    pub fn patient(patience: Duration) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Also expects full disks: requests that add data may fail for lack of space.
    pub fn with_full_disks(mut self) -> Self {
        self.maintenance.expect_full_disks();
        self
    }

    /// The leases that must exist at a moment.
    pub fn leases(&self, at: Moment) -> Vec<i64> {
        self.leases.lasting(at)
    }

    /// Whether a lease can still exist at a moment and need not expire within a campaign: its TTL
    /// has not passed, or it is a long one that a new leader may have restarted.
    pub fn may_last(&self, lease: i64, at: Moment) -> bool {
        self.leases.may_last(lease, at)
    }

    /// Checks the next history. The audit of the last history must have ended before this one
    /// began. No operation of unknown outcome in it may be applied later than the checker's
    /// patience allows.
    ///
    /// # Errors
    /// The first violation. The checker cannot be used afterwards.
    pub fn check(&mut self, mut history: History) -> Result<(), Violation> {
        let after = self.model.revision();
        let (mut floors, told) = self.order.floors(&history);
        self.order.check_identities()?;
        self.leases.learn(&history.operations);
        self.watches.learn(&history.operations);
        let fresh = history.operations.len();
        history.operations.append(&mut self.late);
        // Late operations were invoked before this period, so its revisions are above their floors.
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
                Outcome::Refused(..) | Outcome::NotSent(_) => {}
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

    /// Checks that the store still returns every event from behind the compacted revision up to the
    /// last checked one. `events` carry the previous values.
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
