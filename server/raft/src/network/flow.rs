//! What is held back from other members.

use std::fmt::Debug;

/// What streams of entries to all members heed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Whether heartbeats and entries are held back: see
    /// `consensus::beat`.
    pub(crate) is_silent: bool,
    /// Entries up to this index are to leave the log. A member that lacks some of them gets a
    /// snapshot instead.
    pub(crate) floor: u64,
}
