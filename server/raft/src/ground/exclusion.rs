//! Whether the cluster goes on without this member.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::sync::watch;

/// Why the cluster goes on without this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// It was removed, for good.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// The cluster knows this member with another data directory.
    #[error(
        "the cluster knows this member with another data directory than this one, whose data it \
         relies on: remove the member from the cluster and add it again"
    )]
    OtherData,
}

/// Whether the cluster goes on without this member, as soon as that is known. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Notice(Arc<watch::Sender<Option<Exclusion>>>);

impl Notice {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Notes what this member knows itself.
    pub(crate) fn post(&self, exclusion: Exclusion) {
        self.0.send_if_modified(|known| known.replace(exclusion).is_none());
    }

    /// Whether the cluster goes on without this member.
    pub(crate) fn is_posted(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Why the cluster goes on without this member, if that is known.
    pub(crate) fn posted_now(&self) -> Option<Exclusion> {
        *self.0.borrow()
    }

    /// Waits until the cluster goes on without this member.
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
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}
