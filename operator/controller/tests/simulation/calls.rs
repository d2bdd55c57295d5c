//! The calls that an operator makes, to the API server and to the store, in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// An observer of the world before and after the effect of each call.
type Look = Box<dyn Fn() + Send + Sync>;

/// The calls of one operator.
#[derive(Default)]
pub(crate) struct Calls {
    /// Each call, for a person.
    made: Mutex<Vec<String>>,
    look: Option<Look>,
    /// The number of the writing call before which the operator halts, beginning at 1.
    halt: Option<usize>,
    writes: AtomicUsize,
    /// Fires when that call is reached.
    halted: Notify,
    /// Lets the operator go on.
    resumed: Notify,
}

impl Calls {
    /// Calls with an observer that looks at the world before and after each call.
    pub(crate) fn watched(look: Look) -> Self {
        Self { look: Some(look), ..Self::default() }
    }

    /// Calls of which the writing call with this number waits for [`Self::resume`].
    pub(crate) fn halting(at: usize) -> Self {
        Self { halt: Some(at), ..Self::default() }
    }

    /// Makes a call.
    pub(crate) async fn make<T>(
        &self,
        text: String,
        is_read: bool,
        effect: impl FnOnce() -> T,
    ) -> T {
        self.made.lock().unwrap().push(text);
        if !is_read && self.halt == Some(self.writes.fetch_add(1, Ordering::Relaxed) + 1) {
            self.halted.notify_one();
            self.resumed.notified().await;
        }
        self.look();
        let answer = effect();
        self.look();
        answer
    }

    fn look(&self) {
        if let Some(look) = &self.look {
            look();
        }
    }

    /// Waits until the operator halts.
    pub(crate) async fn halted(&self) {
        self.halted.notified().await;
    }

    /// Lets a halted operator go on.
    pub(crate) fn resume(&self) {
        self.resumed.notify_one();
    }

    /// Each call so far, for a person.
    pub(crate) fn made(&self) -> Vec<String> {
        self.made.lock().unwrap().clone()
    }
}
