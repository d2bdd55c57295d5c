//! The reasons that an operator acts on when a member's process ends.

use std::fmt::{self, Debug, Display};

/// Why the process of a member ended, if a restart alone cannot help. The last line of the log has
/// the code, and the process has the exit status. Programs read both, so neither ever changes its
/// meaning. All other failures have no code and exit status 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The member was removed from the cluster.
    Removed,
    /// The cluster knows this member with another data directory, or the data directory is of
    /// another program.
    OtherData,
    /// The stored data are damaged or incomplete.
    Damaged,
    /// The disk has no space for a file that a start needs.
    DiskFull,
    /// A later version of Quorate wrote the data.
    NewerFormat,
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 5] =
        [Self::Removed, Self::OtherData, Self::Damaged, Self::DiskFull, Self::NewerFormat];

    /// The table: the code and the exit status of each reason.
    fn row(self) -> (&'static str, u8) {
        match self {
            Self::Removed => ("removed", 10),
            Self::OtherData => ("other-data", 11),
            Self::Damaged => ("damaged", 12),
            Self::DiskFull => ("disk-full", 13),
            Self::NewerFormat => ("newer-format", 14),
        }
    }

    /// The code.
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The exit status.
    pub fn exit_status(self) -> u8 {
        self.row().1
    }
}

/// A failure after which the process must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The reason; `None` if it is not one of the table's.
    pub reason: Option<EndReason>,
    /// The text for the log.
    pub text: String,
}

impl Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reasons_can_be_told_apart() {
        let codes: BTreeSet<_> = EndReason::ALL.iter().map(|reason| reason.code()).collect();
        let statuses: BTreeSet<_> = EndReason::ALL.iter().map(|r| r.exit_status()).collect();
        assert_eq!((codes.len(), statuses.len()), (EndReason::ALL.len(), EndReason::ALL.len()));
        // 0 and 1 are those of other ends; from 126 on, shells and signals have theirs.
        assert!(statuses.iter().all(|status| (2..126).contains(status)));
    }
}
