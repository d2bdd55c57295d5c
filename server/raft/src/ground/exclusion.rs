//! Detecting that the cluster continues without this member.

use std::fmt::Debug;
use std::sync::Arc;

use quorate_core::EndReason;
use tokio::sync::watch;

/// Why the cluster continues without this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// The member was removed permanently.
    #[error(
        "the member has been permanently removed from the cluster; remove its data directory, \
         which is no longer usable"
    )]
    Removed,
    /// The cluster knows this member with another data directory.
    #[error(
        "the cluster knows this member with another data directory than this one, whose data it \
         relies on: remove the member from the cluster and add it again"
    )]
    OtherData,
}

impl Exclusion {
    /// The reason for which the process ends.
    pub fn end_reason(self) -> EndReason {
        match self {
            Self::Removed => EndReason::Removed,
            Self::OtherData => EndReason::OtherData,
        }
    }
}

/// A shared flag, set once this member learns that the cluster continues without it. Clones share
/// it.
#[derive(Clone, Debug)]
pub(crate) struct Notice(Arc<watch::Sender<Option<Exclusion>>>);

impl Notice {
    /// A notice without an exclusion.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Sets the exclusion and wakes all waiting callers.
    pub(crate) fn post(&self, exclusion: Exclusion) {
        self.0.send_if_modified(|known| known.replace(exclusion).is_none());
    }

    /// Whether an exclusion is set.
    pub(crate) fn is_posted(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The exclusion, if one is set.
    pub(crate) fn posted_now(&self) -> Option<Exclusion> {
        *self.0.borrow()
    }

    /// Waits until an exclusion is set.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn posted(&self) -> Exclusion {
        let mut known = self.0.subscribe();
        loop {
            if let Some(exclusion) = *known.borrow_and_update() {
                return exclusion;
            }
            if known.changed().await.is_err() {
                // Unreachable: `self` holds the sender.
                std::future::pending::<()>().await;
            }
        }
    }
}
