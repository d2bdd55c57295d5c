//! Configuration of the data integrity checks.

use std::fmt::Debug;
use std::time::Duration;

/// The enabled checks, named after etcd's flags and feature gates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntegrityChecks {
    /// Compare this member's data with the other members' before serving clients.
    pub at_start: bool,
    /// Interval at which the leader compares the newest data; `None` for never.
    pub every: Option<Duration>,
    /// Interval at which the leader looks for a new compaction and compares the data at its
    /// revision; `None` for never.
    pub after_compaction: Option<Duration>,
}
