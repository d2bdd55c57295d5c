//! Limits on the entries and heartbeats that are sent to other members.

use std::fmt::Debug;

/// Limits that the replication streams to all members obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Whether heartbeats and entries are held back: see `consensus::heartbeat`.
    pub(crate) is_silent: bool,
    /// The log is to be purged up to this index. A member that lacks some of these entries gets a
    /// snapshot instead.
    pub(crate) floor: u64,
}
