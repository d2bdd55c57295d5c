//! Ending a long read when its reader has given up.

use std::sync::Arc;

/// Steps of a scan between two calls of [`ReadContext::is_cancelled`].
const STEPS: u32 = 256;

/// The request that a long read belongs to.
pub trait ReadContext: Send + Sync {
    /// Whether the read should end, because its reader has given up or it holds too much memory.
    /// Once true, it must stay true: a caller asks after a read to find out whether the read ended
    /// early.
    fn is_cancelled(&self) -> bool;

    /// Records that the read keeps `bytes` more bytes in memory until it is answered. When the
    /// total is too large, the read is cancelled.
    fn keep(&self, bytes: usize);
}

/// The context of a view; without one, a read is never cancelled.
#[derive(Clone, Default)]
pub(crate) struct OptionalContext(Option<Arc<dyn ReadContext>>);

impl OptionalContext {
    pub(crate) fn new(context: Arc<dyn ReadContext>) -> Self {
        Self(Some(context))
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|context| context.is_cancelled())
    }

    pub(crate) fn keep(&self, bytes: usize) {
        if let Some(context) = &self.0 {
            context.keep(bytes);
        }
    }

    /// Starts to count the steps of a scan.
    pub(crate) fn steps(&self) -> Steps {
        Steps { context: self.clone(), count: 0 }
    }
}

/// The steps of one scan.
pub(crate) struct Steps {
    context: OptionalContext,
    count: u32,
}

impl Steps {
    /// Counts a step; false if the scan should end.
    pub(crate) fn continues(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        !self.count.is_multiple_of(STEPS) || !self.context.is_cancelled()
    }
}
