//! A learner's answers, before and after its promotion.

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{assert_contains, http};
use tonic::{Code, Status};

use crate::cluster;

/// etcd's error text.
const NOT_SUPPORTED: &str = "etcdserver: rpc not supported for learner";

fn get(cluster: &Cluster, place: usize, serializable: bool) -> Result<Vec<u8>, Status> {
    let mut client = KvClient::new(cluster.channel(place));
    let range = pb::RangeRequest { key: "key".into(), serializable, ..Default::default() };
    let answer = cluster.block_on(client.range(range))?.into_inner();
    Ok(answer.kvs.first().map(|kv| kv.value.to_vec()).unwrap_or_default())
}

#[track_caller]
fn assert_not_supported<T>(answer: Result<T, Status>) {
    let refusal = answer.err().expect("learners do not answer this");
    assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, NOT_SUPPORTED));
}

#[test]
fn a_learner_answers_only_serializable_reads_until_its_promotion() {
    let mut cluster = cluster(1);
    cluster.put(0, "key", "value");
    let place = cluster.new_place();
    cluster.add_learner(0, place);
    cluster.members[place].start();
    assert_eq!(get(&cluster, place, true).unwrap(), b"value");
    assert_not_supported(get(&cluster, place, false));
    let channel = cluster.channel(place);
    let put = pb::PutRequest { key: "key".into(), ..Default::default() };
    assert_not_supported(cluster.block_on(KvClient::new(channel.clone()).put(put)));
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 0 };
    let mut lease = LeaseClient::new(channel.clone());
    assert_not_supported(cluster.block_on(lease.lease_grant(grant)));
    let none = tokio_stream::empty::<pb::WatchRequest>();
    assert_not_supported(cluster.block_on(WatchClient::new(channel).watch(none)));
    assert!(cluster.status(place).is_learner);
    let ready = http::get(&cluster.members[place].address(), "/readyz").unwrap();
    assert_contains(&ready, &["[-]non_learner failed: not supported for learner"]);

    cluster.promote(0, place);
    assert!(!cluster.status(place).is_learner);
    assert_eq!(get(&cluster, place, false).unwrap(), b"value");
    cluster.put(place, "key", "changed");
    assert_eq!(get(&cluster, 0, false).unwrap(), b"changed");
    assert_eq!(http::get(&cluster.members[place].address(), "/readyz").unwrap(), "ok\n");
}
