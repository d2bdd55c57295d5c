//! A member whose peer URL is changed before it is restarted, as etcd's manual describes.

use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use tonic::transport::Channel;

/// Less than the timeout of a request, which an unanswered put would take.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// Concurrent writers.
const WRITERS: usize = 8;

fn update(cluster: &Cluster, by: usize, id: u64, url: &str) {
    let request = pb::MemberUpdateRequest { id, peer_urls: vec![url.to_owned()] };
    let client = ClusterClient::new(cluster.channel(by));
    cluster.retry("update", async || client.clone().member_update(request.clone()).await);
}

/// Puts until the member is gone; returns the errors of puts that timed out.
fn write(channel: Channel, writer: usize) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut client = KvClient::new(channel);
        let mut lost = Vec::new();
        loop {
            let key = format!("{writer}").into();
            match client.put(pb::PutRequest { key, ..Default::default() }).await {
                Ok(_) => {}
                Err(refused) if refused.message().contains("timed out") => {
                    lost.push(refused.message().to_owned());
                }
                Err(_) => return lost,
            }
        }
    })
}

#[test]
fn a_leader_with_a_changed_url_stops_at_once_and_loses_no_write() {
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    let (leader, _) = cluster.leader();
    let id = cluster.member_id(leader);
    let url = cluster.members[leader].peer_url();
    // Nothing listens there.
    update(&cluster, leader, id, "http://127.0.0.1:1");
    for member in 0..3 {
        cluster.put(member, "updated", "yes");
    }
    let writers = (0..WRITERS).map(|writer| {
        let channel = cluster.channel(leader);
        std::thread::spawn(move || write(channel, writer))
    });
    let writers: Vec<_> = writers.collect();
    cluster.put(leader, "under way", "yes");
    let begun = Instant::now();
    cluster.members[leader].stop();
    let took = begun.elapsed();
    let lost: Vec<String> = writers.into_iter().flat_map(|it| it.join().unwrap()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(took < STOPS_WITHIN, "it took {took:?} to stop");
    update(&cluster, (leader + 1) % 3, id, &url);
    cluster.start();
    for member in 0..3 {
        cluster.put(member, "restarted", "yes");
    }
}
