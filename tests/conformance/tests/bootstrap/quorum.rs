//! The answers of a member that has lost its quorum.

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::cluster;

/// A stream with one request that the client keeps open; `hasleader` makes it end without a leader.
fn needing_a_leader<T: Send + 'static>(
    request: T,
) -> Request<impl tokio_stream::Stream<Item = T> + Send + 'static> {
    let mut request = Request::new(tokio_stream::once(request).chain(tokio_stream::pending()));
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

#[track_caller]
fn assert_unavailable(refusal: &Status, text: &str) {
    assert_eq!((refusal.code(), refusal.message()), (Code::Unavailable, text));
}

// All error texts are etcd's.
#[test]
fn a_member_without_quorum_answers_with_etcds_errors() {
    let mut cluster = cluster(3);
    let channel = cluster.channel(0);
    let (mut kept, mut watched) = cluster.block_on(async {
        let mut leases = LeaseClient::new(channel.clone());
        let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
        let id = leases.lease_grant(grant).await.unwrap().into_inner().id;
        let keep = needing_a_leader(pb::LeaseKeepAliveRequest { id });
        let mut kept = leases.lease_keep_alive(keep).await.unwrap().into_inner();
        assert_eq!(kept.message().await.unwrap().unwrap().ttl, 60);
        let create = pb::WatchCreateRequest { key: "key".into(), ..Default::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let watch = WatchClient::new(channel.clone()).watch(needing_a_leader(request)).await;
        let mut watched = watch.unwrap().into_inner();
        assert!(watched.message().await.unwrap().unwrap().created);
        (kept, watched)
    });
    cluster.members[1].kill();
    cluster.members[2].kill();
    let ends = cluster.block_on(async {
        let (kept, watched) = tokio::join!(kept.message(), watched.message());
        [kept.unwrap_err(), watched.unwrap_err()]
    });
    ends.iter().for_each(|end| assert_unavailable(end, "etcdserver: no leader"));
    let peer_urls = vec!["http://127.0.0.1:1".to_owned()];
    let add = pb::MemberAddRequest { peer_urls, is_learner: false };
    let refused = cluster.block_on(ClusterClient::new(channel.clone()).member_add(add));
    assert_unavailable(&refused.unwrap_err(), "etcdserver: unhealthy cluster");
    let put = pb::PutRequest { key: "key".into(), ..Default::default() };
    let time = pb::LeaseTimeToLiveRequest { id: 1, ..Default::default() };
    let (put, time) = cluster.block_on(async {
        let mut kv = KvClient::new(channel.clone());
        let mut leases = LeaseClient::new(channel);
        let (put, time) = tokio::join!(kv.put(put), leases.lease_time_to_live(time));
        (put.unwrap_err(), time.unwrap_err())
    });
    // Without a leader, no member can have accepted the put.
    assert_eq!((put.code(), put.message()), (Code::DeadlineExceeded, "context deadline exceeded"));
    assert_unavailable(&time, "etcdserver: no leader");
}
