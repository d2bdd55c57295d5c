//! Settings, limits, alarms and metrics, which operators configure and observe.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarms;
mod etcd;
mod metrics;
mod observed;
mod quota;
mod rules;
mod together;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_test_support::cluster::Cluster;
use tonic::Status;

/// Puts a value of `bytes` bytes through a member.
fn put(cluster: &Cluster, member: usize, key: &str, bytes: usize) -> Result<(), Status> {
    let key = key.to_owned().into();
    let value = vec![b'x'; bytes].into();
    let put = pb::PutRequest { key, value, ..Default::default() };
    let mut client = KvClient::new(cluster.channel(member));
    cluster.block_on(async { client.put(put).await }).map(|_| ())
}

/// Lists (action 0), raises (1) or disarms (2) alarms through a member.
fn alarm(
    cluster: &Cluster,
    member: usize,
    [action, alarm]: [i32; 2],
    member_id: u64,
) -> Result<Vec<pb::AlarmMember>, Status> {
    let request = pb::AlarmRequest { action, member_id, alarm };
    let mut client = MaintenanceClient::new(cluster.channel(member));
    let answer = cluster.block_on(async { client.alarm(request).await });
    answer.map(|answer| answer.into_inner().alarms)
}

/// The raised alarms, as a member lists them.
fn alarms(cluster: &Cluster, member: usize) -> Vec<pb::AlarmMember> {
    alarm(cluster, member, [0, 0], 0).unwrap()
}
