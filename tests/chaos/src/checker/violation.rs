//! The rules that a history can violate.

use std::fmt::{self, Display, Formatter};

/// The rules, each named after its violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// An acknowledged write is missing.
    LostWrite,
    /// Two writes were acknowledged with the same revision.
    SharedRevision,
    /// A write was never requested, or was applied twice.
    NeverRequested,
    /// A write is at a revision other than the acknowledged one, or was refused and still applied.
    MisplacedWrite,
    /// The changes at a revision are not those that the operation at this revision requested.
    WrongEffect,
    /// The events of an audit contradict each other or earlier events.
    BrokenEvents,
    /// A write has a smaller revision than a revision that was known before the write began.
    WriteOutOfOrder,
    /// A read missed a revision that was known before the read began.
    StaleRead,
    /// A member's revision, term or index decreased.
    MovedBack,
    /// A member changed its member id or cluster id, or has the id of another member.
    WrongIdentity,
    /// A response differs from the state of the store at the revision of the response.
    WrongAnswer,
    /// A request was refused without reason.
    WrongRefusal,
    /// A watch did not get exactly the written events: some were missing, repeated, reordered or
    /// different.
    WrongWatch,
    /// A lease that must exist is missing, or a lease that must not exist exists.
    WrongLease,
    /// A hash differs from an earlier hash of the same revisions.
    WrongHash,
    /// A revision that must be readable is compacted, or a compacted revision is readable.
    WrongCompaction,
}

/// A violated rule and the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The evidence.
    pub what: String,
}

impl Violation {
    /// A violation of `rule`.
    pub fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

impl std::error::Error for Violation {}

/// Checks that `holds` is true.
///
/// # Errors
/// A violation of `rule` if `holds` is false.
pub(super) fn ensure(
    holds: bool,
    rule: Rule,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(rule, what())) }
}
