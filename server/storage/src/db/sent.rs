//! The ends of the parts that were made from a commit. A sender can continue after any of them.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use super::part::PartPosition;

/// The end of a part that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartEnd {
    /// Checksum of the part, which also covers all parts before it.
    pub(super) checksum: u32,
    /// Checksum of the position after the part.
    position: u32,
    pub(super) is_last: bool,
}

/// The ends of all parts that were made from a commit: a few bytes for each megabyte of the
/// database.
pub(super) struct SentParts {
    /// Identifies the commit while the process runs.
    id: u64,
    ends: Mutex<Vec<PartEnd>>,
}

impl Default for SentParts {
    fn default() -> Self {
        Self { id: RandomState::new().hash_one(()), ends: Mutex::default() }
    }
}

impl SentParts {
    /// A random id of the commit.
    pub(super) fn id(&self) -> String {
        format!("{:016x}", self.id)
    }

    /// The end of the part before `position`; `None` if no part ends there.
    pub(super) fn end_at(&self, position: &PartPosition) -> Option<PartEnd> {
        let last = usize::try_from(position.parts.checked_sub(1)?).ok()?;
        let end = self.ends.lock().get(last).copied()?;
        (end.position == position.checksum()).then_some(end)
    }

    /// Records the end of the part before `position`, unless it is recorded already.
    pub(super) fn record(&self, position: &PartPosition, checksum: u32, is_last: bool) {
        let mut ends = self.ends.lock();
        if ends.len() as u64 + 1 == position.parts {
            ends.push(PartEnd { checksum, position: position.checksum(), is_last });
        }
    }
}
