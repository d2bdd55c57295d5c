//! The progress of the state machine, and waiting for it.

use std::fmt::Debug;

use tokio::sync::watch;

/// The index of the last applied entry. Clones share it.
#[derive(Clone, Debug)]
pub struct Progress {
    applied: watch::Sender<u64>,
}

impl Progress {
    pub(crate) fn new(applied: u64) -> Self {
        Self { applied: watch::Sender::new(applied) }
    }

    /// Index of the last applied entry; 0 without one.
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Waits until the entry at `index` is applied.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn reach(&self, index: u64) {
        if self.applied() >= index {
            return;
        }
        let mut changes = self.applied.subscribe();
        // Cannot fail: `self` holds a sender.
        changes.wait_for(|applied| *applied >= index).await.ok();
    }

    /// A receiver of all further progress. It may skip intermediate indexes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub(crate) fn advance(&self, index: u64) {
        self.applied.send_replace(index);
    }
}
