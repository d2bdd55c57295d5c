//! Detects that the cluster has excluded this member.
//!
//! A removed member gets no messages from the others, so it must ask. The others remember removed
//! members forever, and refuse its calls with the reason. The same applies to a member whose data
//! directory is not the one that the cluster knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::peer_pool::PeerPool;
use crate::ground::consensus::RaftStatus;
use crate::ground::exclusion::Exclusion;

/// Interval of calls to the others while there is no leader.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Time limit for one call.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Calls the other members periodically while there is no leader. If they refuse this member for
/// good, the client posts that to the notice. Returns when the member stops or knows of its
/// removal.
pub(crate) async fn poll_for_exclusion(
    pool: Arc<PeerPool>,
    mut status: watch::Receiver<RaftStatus>,
) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        if status.wait_for(|status| status.leader.is_none()).await.is_err() {
            return;
        }
        if pool.is_removed() {
            pool.notice().post(Exclusion::Removed);
            return;
        }
        let asked = pool.all().into_iter().map(|peer| async move {
            let mut client = peer.control;
            // Only the response status matters, and the client evaluates it.
            let asked = client.read_index(tokio_stream::empty());
            tokio::time::timeout(ANSWER_WITHIN, asked).await.ok();
        });
        join_all(asked).await;
    }
}
