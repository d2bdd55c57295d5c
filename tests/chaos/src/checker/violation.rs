//! What a history can violate.

use std::fmt::{self, Display, Formatter};

/// The rules, each named after what breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A write was acknowledged and is not there.
    LostWrite,
    /// Two writes were acknowledged with one revision.
    SharedRevision,
    /// Something was written that nobody asked for, or for the second time.
    NeverRequested,
    /// A write stands at another revision than it was acknowledged with, or although it was
    /// refused.
    MisplacedWrite,
    /// What stands at a revision is not what its operation does.
    WrongEffect,
    /// The events of an audit contradict each other or what came before them.
    BrokenEvents,
    /// A write has a smaller revision than something that was known before it was asked for.
    WriteOutOfOrder,
    /// A read missed what was known before it was asked for.
    StaleRead,
    /// A member's revision, term or index moved back.
    MovedBack,
    /// A member is not the one that it was, or of another cluster.
    WrongIdentity,
    /// An answer is not what the store held at the revision that the answer names.
    WrongAnswer,
    /// A refusal without reason.
    WrongRefusal,
    /// What a watch was told is not what was written: missing, twice, in another order, different.
    WrongWatch,
    /// A lease that must exist does not, or one exists that cannot.
    WrongLease,
    /// A hash differs from that of the same revisions.
    WrongHash,
    /// History that must be there was compacted, or the other way round.
    WrongCompaction,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What shows it.
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

/// A violation unless `holds`.
pub(super) fn ensure(
    holds: bool,
    rule: Rule,
    what: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(rule, what())) }
}
