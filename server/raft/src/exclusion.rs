//! Noticing that the cluster goes on without this member.
//!
//! A member that was removed hears nothing of it: nobody sends it anything any more. It learns it
//! when it calls the others itself, who know for ever who was removed. The same goes for one whose
//! data directory is not the one that the cluster knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::consensus::RaftStatus;
use crate::network::guard;
use crate::network::links::Links;

/// How often the others are asked while there is no leader.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long one of them may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

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

    /// Notes what another member has answered.
    pub(crate) fn read(&self, status: &Status) {
        match status.code() {
            Code::PermissionDenied if status.message().contains(guard::REMOVED) => {
                self.post(Exclusion::Removed);
            }
            Code::FailedPrecondition if status.message().contains(guard::OTHER_DATA) => {
                self.post(Exclusion::OtherData);
            }
            _ => {}
        }
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

/// Calls the others now and then while there is no leader: their answers tell [`Notice`] whether
/// this member still belongs to them.
pub(crate) async fn ask_around(links: Arc<Links>, mut status: watch::Receiver<RaftStatus>) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        if status.wait_for(|status| status.leader.is_none()).await.is_err() {
            return;
        }
        if links.is_removed() {
            links.notice().post(Exclusion::Removed);
            return;
        }
        let asked = links.to_all().into_iter().map(|link| async move {
            let mut client = link.control;
            // Whether it is let in is all there is to know.
            let asked = client.read_index(tokio_stream::empty());
            tokio::time::timeout(ANSWER_WITHIN, asked).await.ok();
        });
        join_all(asked).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_answers_that_mean_it_exclude() {
        let notice = Notice::new();
        notice.read(&Status::permission_denied("go away"));
        notice.read(&Status::unavailable(format!("member 1 {}", guard::REMOVED)));
        notice.read(&Status::failed_precondition("cluster ID mismatch"));
        assert_eq!(*notice.0.borrow(), None);
        notice.read(&Status::failed_precondition(format!("member 1 {}", guard::OTHER_DATA)));
        assert_eq!(notice.posted().await, Exclusion::OtherData);
        let notice = Notice::new();
        let waiting = notice.clone();
        let (posted, ()) = tokio::join!(waiting.posted(), async {
            notice.read(&Status::permission_denied(format!("member 1 {}", guard::REMOVED)));
        });
        assert_eq!(posted, Exclusion::Removed);
    }
}
