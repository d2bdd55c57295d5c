//! Durations of the last start, compaction and defragmentation; faults are injected within them.

use std::time::Duration;

use crate::history::{Operation, Request};

/// The last durations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) start: Duration,
    pub(super) compact: Duration,
    pub(super) defragment: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let some = Duration::from_millis(100);
        Self { start: some, compact: some, defragment: some }
    }
}

impl Timing {
    /// Takes the durations of answered compactions and defragmentations.
    pub(super) fn note(&mut self, operations: &[Operation]) {
        for operation in operations.iter().filter(|operation| !operation.is_unanswered()) {
            let took = operation.returned.elapsed - operation.invoked.elapsed;
            match operation.request {
                Request::Compact(_) => self.compact = took,
                Request::Defragment => self.defragment = took,
                _ => {}
            }
        }
    }
}
