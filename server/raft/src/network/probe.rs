//! Measures the round-trip time to each member, and checks whether absent members answer at their
//! URLs again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::peer as pb;
use tokio::time::Instant;

use super::describe::{Description, describe};
use super::peer_pool::{PeerPool, UnreachablePeer};

/// Interval between measurements, as in etcd.
const EVERY: Duration = Duration::from_secs(4);

/// Measures until the member stops. The leader also measures its heartbeats. But followers send
/// none, and a path can be slow for one end only.
pub(crate) async fn probe(pool: Arc<PeerPool>, timeout: Duration) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let probes = pool.all().into_iter().map(|peer| async move {
            let mut client = peer.control;
            let started = Instant::now();
            let asked = client.describe(pb::DescribeRequest {});
            // A missing reply is not a measurement. Failed sends have a metric of their own.
            if let Ok(Ok(_)) = tokio::time::timeout(timeout, asked).await {
                peer.metrics.round_trip.observe(started.elapsed().as_secs_f64());
            }
        });
        let unreachable = pool.unreachable().into_iter();
        let probed = unreachable.map(|peer| probe_urls(&pool, peer, timeout));
        tokio::join!(join_all(probes), join_all(probed));
    }
}

/// Marks the URLs of a member as usable again if it answers there. It must answer `within` this
/// time: a connection attempt that takes longer falls back to a reverse connection.
pub(crate) async fn probe_urls(pool: &PeerPool, peer: UnreachablePeer, within: Duration) {
    let UnreachablePeer { member, route, urls } = peer;
    let me = pool.identity();
    let probed = urls.iter().map(async |url| {
        let answer = describe(pool.dialer().clone(), url, within).await;
        let is_member = |it: Description| (it.cluster_id, it.member_id) == (me.cluster_id, member);
        if answer.is_ok_and(is_member) {
            route.verified(url);
        }
    });
    join_all(probed).await;
}
