//! Noticing that the cluster goes on without this member.
//!
//! A member that was removed hears nothing of it: nobody sends it anything any more. It learns it
//! when it calls the others itself, who know for ever who was removed. The same goes for one whose
//! data directory is not the one that the cluster knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::links::Links;
use crate::ground::consensus::RaftStatus;
use crate::ground::exclusion::Exclusion;

/// How often the others are asked while there is no leader.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long one of them may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

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
