//! Whether a reader still waits for what is read.

use std::sync::Arc;

/// Steps of a walk between two questions.
const STEPS: u32 = 256;

/// Asked by long reads whether they should go on. Once it has said no it must never say yes again:
/// a read that was ended early is told from a whole one by asking afterwards.
pub trait Patience: Send + Sync {
    /// Whether nobody waits for the answer any more.
    fn is_over(&self) -> bool;

    /// Notes that a read keeps so many bytes more until it is answered. When that is too much,
    /// patience is over.
    fn keep(&self, bytes: usize);
}

/// The patience of a view: without end where nobody limits it.
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

    /// Counts the steps of a walk.
    pub(crate) fn steps(&self) -> Steps {
        Steps { limit: self.clone(), count: 0 }
    }
}

/// The steps of one walk.
pub(crate) struct Steps {
    limit: Limit,
    count: u32,
}

impl Steps {
    /// Takes a step; false when the walk should end.
    pub(crate) fn go_on(&mut self) -> bool {
        self.count = self.count.wrapping_add(1);
        !self.count.is_multiple_of(STEPS) || !self.limit.is_over()
    }
}
