//! Which checks of the data are made.

use std::fmt::Debug;
use std::time::Duration;

/// Which checks are made, as etcd's flags and feature gates name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntegrityChecks {
    /// Before clients are served: this member's data are those of the others.
    pub at_start: bool,
    /// How often the leader compares the newest data.
    pub every: Option<Duration>,
    /// How often the leader compares what the last compaction left.
    pub after_compaction: Option<Duration>,
}
