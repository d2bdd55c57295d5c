//! Ending a long read when its reader has given up.

use std::sync::Arc;

/// Steps of a scan between two calls of [`Patience::is_over`].
const STEPS: u32 = 256;

/// Tells long reads whether their reader still waits.
pub trait Patience: Send + Sync {
    /// Whether the reader has given up. Once true, it must stay true: a caller asks after a read to
    /// find out whether the read ended early.
    fn is_over(&self) -> bool;

    /// Records that the read keeps `bytes` more bytes in memory until it is answered. When the
    /// total is too large, patience is over.
    fn keep(&self, bytes: usize);
}

/// The patience of a view; `None` never ends.
#[derive(Clone, Default)]
pub(crate) struct Limit(Option<Arc<dyn Patience>>);

impl Limit {
    pub(crate) fn new(patience: Arc<dyn Patience>) -> Self {
        Self(Some(patience))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|patience| patience.is_over())
    }

    pub(crate) fn keep(&self, bytes: usize) {
        if let Some(patience) = &self.0 {
            patience.keep(bytes);
        }
    }

    /// Starts to count the steps of a scan.
    pub(crate) fn steps(&self) -> Steps {
        Steps { limit: self.clone(), count: 0 }
    }
}

/// The steps of one scan.
pub(crate) struct Steps {
    limit: Limit,
    count: u32,
}

impl Steps {
    /// Counts a step; false if the scan should end.
    pub(crate) fn go_on(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        !self.count.is_multiple_of(STEPS) || !self.limit.is_over()
    }
}
