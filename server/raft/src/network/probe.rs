//! How long a message to each member and back takes, measured by every member; and whether members
//! are back at their URLs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::peer as pb;
use tokio::time::Instant;

use super::describe::describe;
use super::links::{Closed, Links};

/// Time between two measurements, as in etcd.
const EVERY: Duration = Duration::from_secs(4);

/// Measures, until the member stops. The leader's heartbeats are measured besides; but other
/// members send none, and a way that only one end finds slow is slow.
pub(crate) async fn probe(links: Arc<Links>, patience: Duration) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let probes = links.to_all().into_iter().map(|link| async move {
            let mut client = link.control;
            let started = Instant::now();
            let asked = client.describe(pb::DescribeRequest {});
            // One that does not answer is a matter of what cannot be sent to it.
            if let Ok(Ok(_)) = tokio::time::timeout(patience, asked).await {
                link.metrics.round_trip.observe(started.elapsed().as_secs_f64());
            }
        });
        let tried = links.closed().into_iter().map(|closed| try_urls(&links, closed, patience));
        tokio::join!(join_all(probes), join_all(tried));
    }
}

/// Goes back to the URLs of a member that answers there again. It must do so `within` a time: when
/// connections take longer, another way is looked for.
pub(crate) async fn try_urls(links: &Links, closed: Closed, within: Duration) {
    let Closed { member, way, urls } = closed;
    let me = links.identity();
    let tried = urls.iter().map(async |url| {
        let said = describe(links.dialer().clone(), url, within).await;
        if said.is_ok_and(|said| (said.cluster_id, said.member_id) == (me.cluster_id, member)) {
            way.opened(url);
        }
    });
    join_all(tried).await;
}
