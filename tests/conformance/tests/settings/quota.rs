//! Each member's space quota limits the writes of all members.

use std::path::Path;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::lease_client::LeaseClient;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};
use tokio::task::JoinSet;
use tonic::Code;

use super::{alarm, alarms, put};

const MIB: usize = 1 << 20;
/// The quota of the second member, in MiB; the others have etcd's default.
const QUOTA: usize = 10;
/// Maximum MiB of values that may be acknowledged. The minimum is half of the quota, because etcd's
/// quota counts its file, which grows by more than the values.
const MOST: usize = QUOTA + 3;

/// A cluster whose second member has a lower quota.
fn cluster(program: &Path) -> Cluster {
    let mut cluster = Cluster::new(program, 3, &[]);
    cluster.members[1].add_flags(&[&format!("--quota-backend-bytes={}", QUOTA * MIB)]);
    cluster.start();
    cluster
}

/// Waits until the second member has raised its alarm; no other alarm may be raised.
fn wait_for_alarm(cluster: &Cluster, after: &str) {
    let raised = pb::AlarmMember { member_id: cluster.member_id(1), alarm: 1 };
    let what = format!("the second member raises its alarm after {after}");
    wait::until(&what, Duration::from_secs(30), || {
        let found = alarms(cluster, 0);
        assert!(found.is_empty() || found == [raised], "{found:?}");
        (!found.is_empty()).then_some(())
    });
}

/// Makes one write of the given kind through the first member.
fn write(cluster: &Cluster, kind: &str) {
    let channel = cluster.channel(0);
    let put = pb::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    let op = pb::RequestOp { request: Some(Request::RequestPut(put.clone())) };
    let txn = pb::TxnRequest { success: vec![op], ..Default::default() };
    let grant = pb::LeaseGrantRequest { ttl: 3600, id: 0 };
    let written = cluster.block_on(async {
        match kind {
            "put" => KvClient::new(channel).put(put).await.map(|_| ()),
            "txn" => KvClient::new(channel).txn(txn).await.map(|_| ()),
            _ => LeaseClient::new(channel).lease_grant(grant).await.map(|_| ()),
        }
    });
    written.unwrap_or_else(|refused| panic!("{kind}: {refused}"));
}

/// Writes through the first member until a write is refused, which must be after at most `most`
/// MiB. Then checks which writes each member accepts.
fn holds_for_all(program: &Path, most: usize) {
    let cluster = cluster(program);
    let mut written = 0;
    let refused = loop {
        match put(&cluster, 0, &format!("k{written}"), MIB) {
            Ok(()) => written += 1,
            Err(refused) => break refused,
        }
        assert!(written < 2 * most, "{written} MiB were written");
    };
    println!("{}: {written} MiB with a quota of {QUOTA} MiB", program.display());
    assert!((QUOTA / 2..=most).contains(&written), "{written} MiB were written");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    wait_for_alarm(&cluster, "the writes");
    for member in 0..3 {
        let refused = put(&cluster, member, "k", 1).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    }
    // Each kind of write raises the alarm again, and is acknowledged by a member with space.
    let member_id = cluster.member_id(1);
    for kind in ["put", "txn", "lease grant"] {
        assert_eq!(alarm(&cluster, 0, [2, 1], member_id).unwrap().len(), 1);
        write(&cluster, kind);
        wait_for_alarm(&cluster, kind);
    }
    // The second member itself refuses at once.
    assert_eq!(alarm(&cluster, 0, [2, 1], member_id).unwrap().len(), 1);
    let refused = put(&cluster, 1, "k", 1).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    wait_for_alarm(&cluster, "a put");
}

#[test]
fn the_quota_of_a_member_limits_all_members() {
    holds_for_all(&program::quorate(), MOST);
}

#[test]
fn the_quota_of_a_member_limits_all_members_of_etcd() {
    let Some(etcd) = program::etcd("quota of a member", "etcd-3.7") else { return };
    // etcd checks the size of its file, which grows only when a batch is committed.
    holds_for_all(&etcd, 4 * MOST);
}

/// Concurrent writes can all pass the check before the proposal, so each is checked again when it
/// is applied.
#[test]
fn the_quota_holds_for_concurrent_writes() {
    let cluster = Cluster::start_new(&program::quorate(), 1, &["--quota-backend-bytes=2097152"]);
    let client = KvClient::new(cluster.channel(0)).max_decoding_message_size(usize::MAX);
    let codes = cluster.block_on(async {
        let puts = (0..64).map(|number| {
            let key = format!("k{number}");
            let mut client = client.clone();
            let value = vec![b'x'; MIB / 8];
            let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
            async move { client.put(put).await.map_or_else(|e| e.code(), |_| Code::Ok) }
        });
        puts.collect::<JoinSet<_>>().join_all().await
    });
    let taken = codes.iter().filter(|code| **code == Code::Ok).count();
    println!("{taken} of 64 puts of 128 KiB with a quota of 2 MiB");
    assert!((8..=16).contains(&taken), "{taken} were taken");
    let refused = codes.iter().filter(|code| **code == Code::ResourceExhausted).count();
    assert_eq!(taken + refused, codes.len(), "{codes:?}");
    assert_eq!(alarms(&cluster, 0).len(), 1);
}

/// Once there is space again, writes succeed without a defragmentation.
#[test]
fn writes_succeed_again_once_there_is_space() {
    let cluster = cluster(&program::quorate());
    let mut number = 0;
    while put(&cluster, 0, &format!("k{number}"), MIB).is_ok() {
        number += 1;
        assert!(number < 2 * MOST, "{number} MiB were written");
    }
    let mut second = KvClient::new(cluster.channel(1));
    let delete = pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
    let deleted = cluster.block_on(async { second.delete_range(delete).await }).unwrap();
    let revision = deleted.into_inner().header.unwrap().revision;
    // Answered once the second member has deleted the compacted versions.
    let compact = pb::CompactionRequest { revision, physical: true };
    cluster.block_on(async { second.compact(compact).await }).unwrap();
    assert_eq!(alarm(&cluster, 0, [2, 1], cluster.member_id(1)).unwrap().len(), 1);
    for number in 0..QUOTA / 2 {
        put(&cluster, 0, &format!("k{number}"), MIB).unwrap();
    }
    put(&cluster, 1, "k", 1).unwrap();
    assert_eq!(alarms(&cluster, 0), []);
}
