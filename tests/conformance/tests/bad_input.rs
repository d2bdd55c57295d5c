//! Requests that no correct client sends get etcd's answer, and break nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::TargetUnion;
use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_test_conformance::cluster_pair::ClusterPair;
use quorate_test_conformance::differential::Differential;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";

/// Interval of kills of a follower that gets no requests.
const KILLED_EVERY: Duration = Duration::from_secs(2);

/// A lease that exists on both servers.
const LEASE: i64 = 7;

fn range(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    let key = key.into();
    let range_end = range_end.into();
    pb::RangeRequest { key, range_end, ..Default::default() }
}

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn delete(key: &'static str, range_end: &'static str) -> pb::DeleteRangeRequest {
    let key = key.into();
    let range_end = range_end.into();
    pb::DeleteRangeRequest { key, range_end, ..Default::default() }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn success(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success: ops, ..Default::default() }
}

/// Puts of `count` different keys.
fn puts(count: usize) -> Vec<pb::RequestOp> {
    let keys = (0..count).map(|number| format!("many/{number}"));
    let put = |key: String| pb::PutRequest { key: key.into(), ..Default::default() };
    keys.map(|key| op(Op::RequestPut(put(key)))).collect()
}

/// Starts both servers with the same few keys; see [`prepare`].
async fn prepared(suite: &str, flags: &[&str]) -> Option<Differential> {
    let mut differential = Differential::start(suite, flags)?;
    prepare(&mut differential).await;
    Some(differential)
}

/// Writes a few keys, up to revision 6; compacts at revision 4; grants [`LEASE`].
async fn prepare(differential: &mut Differential) {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3")] {
        differential.compare("prepare", PUT, &put(key, value)).await;
    }
    let compact = pb::CompactionRequest { revision: 4, physical: false };
    differential.compare("prepare", COMPACT, &compact).await;
    differential.compare("prepare", GRANT, &pb::LeaseGrantRequest { ttl: 1000, id: LEASE }).await;
}

/// Runs a suite against single-member clusters.
fn of_one(suite: &str, calls: impl AsyncFn(&mut Differential)) {
    block_on(async {
        let Some(mut differential) = prepared(suite, &[]).await else { return };
        calls(&mut differential).await;
        differential.finish().await;
    });
}

#[test]
fn a_follower_answers_as_one_of_etcd_while_the_other_is_killed() {
    let suite = "bad input, by a follower";
    let Some(clusters) = ClusterPair::start(suite, &[], Some(KILLED_EVERY)) else { return };
    let [quorate, etcd] =
        [&clusters.quorate, &clusters.etcd].map(|cluster| cluster.addresses().remove(0));
    block_on(async {
        let mut differential = Differential::at(quorate, etcd);
        prepare(&mut differential).await;
        bad_reads(&mut differential).await;
        bad_writes(&mut differential).await;
        bad_transactions(&mut differential).await;
        bad_leases(&mut differential).await;
        differential.finish().await;
    });
    clusters.finish();
}

#[test]
fn bad_ranges_are_answered_as_by_etcd() {
    of_one("bad input, ranges", async |differential| bad_reads(differential).await);
}

async fn bad_reads(differential: &mut Differential) {
    for path in [RANGE, RANGE_STREAM] {
        for bad in bad_ranges() {
            differential.compare(&format!("{path} {bad:?}"), path, &bad).await;
        }
    }
}

fn bad_ranges() -> Vec<pb::RangeRequest> {
    let all = || range("\0", "\0");
    let mut bad = vec![
        range("", ""),
        range("", "z"),
        range("z", "a"),
        range("a", "a"),
        range("missing", ""),
        range("\0", "\0"),
        range("z", "\0"),
    ];
    for number in [i64::MIN, -1, 1, 3, 4, 6, 7, i64::MAX] {
        bad.push(pb::RangeRequest { revision: number, ..all() });
        bad.push(pb::RangeRequest { revision: number, count_only: true, ..all() });
        bad.push(pb::RangeRequest { limit: number, ..all() });
        bad.push(pb::RangeRequest { min_mod_revision: number, ..all() });
        bad.push(pb::RangeRequest { max_mod_revision: number, ..all() });
        bad.push(pb::RangeRequest { min_create_revision: number, ..all() });
        bad.push(pb::RangeRequest { max_create_revision: number, ..all() });
        bad.push(pb::RangeRequest { max_create_revision: number, limit: 1, ..all() });
    }
    for number in [i32::MIN, -1, 3, 5, 99, i32::MAX] {
        bad.push(pb::RangeRequest { sort_order: number, ..all() });
        bad.push(pb::RangeRequest { sort_target: number, ..all() });
        bad.push(pb::RangeRequest { sort_target: number, sort_order: 1, ..range("z", "a") });
        // Two errors in one request: which one is reported?
        bad.push(pb::RangeRequest { sort_order: number, ..range("", "") });
        bad.push(pb::RangeRequest { sort_order: number, revision: 99, ..all() });
    }
    for target in 0..=4 {
        for order in 0..=2 {
            let limited = pb::RangeRequest { limit: 2, ..all() };
            bad.push(pb::RangeRequest { sort_target: target, sort_order: order, ..limited });
        }
    }
    bad
}

#[test]
fn bad_writes_are_answered_as_by_etcd() {
    of_one("bad input, writes", async |differential| bad_writes(differential).await);
}

async fn bad_writes(differential: &mut Differential) {
    let bad_puts = [
        put("", ""),
        put("", "x"),
        pb::PutRequest { ignore_value: true, ..put("a", "x") },
        pb::PutRequest { ignore_value: true, ..put("missing", "") },
        pb::PutRequest { ignore_value: true, ..put("", "x") },
        pb::PutRequest { ignore_lease: true, lease: LEASE, ..put("a", "x") },
        pb::PutRequest { ignore_lease: true, ..put("missing", "x") },
        pb::PutRequest { ignore_lease: true, lease: 99, ..put("missing", "x") },
        pb::PutRequest { lease: 99, ..put("a", "x") },
        pb::PutRequest { lease: -1, ..put("a", "x") },
        pb::PutRequest { lease: i64::MIN, ..put("a", "x") },
        pb::PutRequest { lease: LEASE, prev_kv: true, ..put("a", "") },
        pb::PutRequest { ignore_value: true, ignore_lease: true, ..put("a", "") },
    ];
    for bad in bad_puts {
        differential.compare(&format!("{bad:?}"), PUT, &bad).await;
    }
    for (key, end) in [("", ""), ("", "z"), ("z", "a"), ("b", "b"), ("x", "\0"), ("nil", "")] {
        let bad = pb::DeleteRangeRequest { prev_kv: true, ..delete(key, end) };
        differential.compare(&format!("{bad:?}"), DELETE, &bad).await;
    }
    for revision in [i64::MIN, -1, 0, 1, 3, 4, 99, i64::MAX, 5] {
        for physical in [false, true] {
            let bad = pb::CompactionRequest { revision, physical };
            differential.compare(&format!("{bad:?}"), COMPACT, &bad).await;
        }
    }
    differential.compare("the keys are the same", RANGE, &range("\0", "\0")).await;
}

#[test]
fn bad_transactions_are_answered_as_by_etcd() {
    of_one("bad input, transactions", async |differential| bad_transactions(differential).await);
}

async fn bad_transactions(differential: &mut Differential) {
    for bad in bad_txns() {
        let what = format!("{:.400}", format!("{bad:?}"));
        differential.compare(&what, TXN, &bad).await;
    }
    differential.compare("the keys are the same", RANGE, &range("\0", "\0")).await;
}

fn bad_txns() -> Vec<pb::TxnRequest> {
    let compares =
        |count: usize| vec![pb::Compare { key: "a".into(), ..Default::default() }; count];
    let reads = |count: usize| vec![op(Op::RequestRange(range("a", ""))); count];
    let nested = |inner: pb::TxnRequest| op(Op::RequestTxn(inner));
    let txn = pb::TxnRequest::default;
    let mut bad = vec![
        txn(),
        pb::TxnRequest { compare: compares(128), ..txn() },
        pb::TxnRequest { compare: compares(129), ..txn() },
        success(puts(128)),
        success(puts(129)),
        pb::TxnRequest { failure: puts(129), ..txn() },
        pb::TxnRequest { success: reads(129), ..txn() },
        pb::TxnRequest { compare: compares(128), success: reads(128), failure: reads(128) },
        // A nested transaction may use as many operations as the outer one leaves of the limit.
        success(vec![nested(success(puts(127)))]),
        success(vec![nested(success(puts(128)))]),
        success(vec![pb::RequestOp { request: None }]),
        pb::TxnRequest { failure: vec![pb::RequestOp { request: None }], ..txn() },
        pb::TxnRequest { compare: vec![pb::Compare::default()], ..txn() },
        success(vec![op(Op::RequestPut(put("", "")))]),
        success(vec![op(Op::RequestRange(range("", "")))]),
        success(vec![op(Op::RequestDeleteRange(delete("", "")))]),
        success(vec![op(Op::RequestRange(pb::RangeRequest { sort_order: 9, ..range("a", "") }))]),
        success(vec![op(Op::RequestPut(pb::PutRequest { ignore_value: true, ..put("a", "x") }))]),
        success(vec![op(Op::RequestPut(pb::PutRequest { lease: 99, ..put("a", "x") }))]),
        success(vec![op(Op::RequestPut(put("k", "1"))), op(Op::RequestPut(put("k", "2")))]),
        success(vec![
            op(Op::RequestPut(put("k", "1"))),
            op(Op::RequestDeleteRange(delete("k", ""))),
        ]),
        success(vec![
            op(Op::RequestDeleteRange(delete("z", "a"))),
            op(Op::RequestPut(put("k", "1"))),
        ]),
        success(vec![
            op(Op::RequestDeleteRange(delete("k", "\0"))),
            op(Op::RequestPut(put("k", "1"))),
        ]),
        success(vec![
            op(Op::RequestPut(put("k", "1"))),
            nested(pb::TxnRequest { failure: vec![op(Op::RequestPut(put("k", "1")))], ..txn() }),
        ]),
    ];
    for revision in [i64::MIN, -1, 3, 4, 99, i64::MAX] {
        let read = op(Op::RequestRange(pb::RangeRequest { revision, ..range("a", "") }));
        bad.push(success(vec![read.clone()]));
        bad.push(success(vec![op(Op::RequestPut(put("k", "1"))), read]));
    }
    bad.extend(bad_compares().into_iter().map(|compare| pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put("was", "equal")))],
        failure: vec![op(Op::RequestPut(put("was", "different")))],
    }));
    bad
}

fn bad_compares() -> Vec<pb::Compare> {
    let key = || pb::Compare { key: "a".into(), ..Default::default() };
    let mut bad = Vec::new();
    for number in [i32::MIN, -1, 4, 5, 99, i32::MAX] {
        bad.push(pb::Compare { result: number, ..key() });
        bad.push(pb::Compare { target: number, ..key() });
        bad.push(pb::Compare { target: number, result: 3, ..key() });
    }
    let unions = [
        None,
        Some(TargetUnion::Version(-1)),
        Some(TargetUnion::CreateRevision(i64::MIN)),
        Some(TargetUnion::ModRevision(i64::MAX)),
        Some(TargetUnion::Value(Bytes::new())),
        Some(TargetUnion::Lease(-1)),
    ];
    for target in 0..=4 {
        for result in 0..=3 {
            for union in &unions {
                let compare = pb::Compare { target, result, target_union: union.clone(), ..key() };
                for end in ["", "z", "\0", "A", "a"] {
                    bad.push(pb::Compare { range_end: end.into(), ..compare.clone() });
                }
                bad.push(pb::Compare { key: "missing".into(), ..compare.clone() });
            }
        }
    }
    bad
}

/// `depth` transactions, nested in each other.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = pb::TxnRequest::default().encode_to_vec();
    for _ in 1..depth {
        let mut op = Vec::new();
        prost::encoding::bytes::encode(4, &bytes, &mut op);
        let mut outer = Vec::new();
        prost::encoding::bytes::encode(2, &op, &mut outer);
        bytes = outer;
    }
    bytes
}

#[test]
fn deeply_nested_transactions_are_answered_as_by_etcd() {
    block_on(async {
        let Some(mut differential) = prepared("bad input, nesting", &[]).await else { return };
        let request = Connection::request(TXN);
        for depth in [2, 100, 128, 129, 130, 1000, 4999, 5000, 5001, 10_000, 100_000] {
            let body = frame(&nested(depth));
            differential.compare_call(&format!("{depth} levels"), &request, &body).await;
        }
        differential.finish().await;
    });
}

#[test]
fn oversized_requests_are_answered_as_by_etcd() {
    block_on(async {
        let Some(mut differential) = prepared("bad input, sizes", &[]).await else { return };
        let large = |length: usize| pb::PutRequest {
            key: "large".into(),
            value: vec![b'x'; length].into(),
            ..Default::default()
        };
        // Around the limit of 1.5 MiB for requests and that of 2 MiB for messages, byte by byte.
        let mib = 1 << 20;
        for length in (3 * mib / 2 - 40..3 * mib / 2 + 2).chain(2 * mib - 20..2 * mib + 2) {
            differential.compare(&format!("a value of {length} bytes"), PUT, &large(length)).await;
        }
        for length in [4 * mib, 64 * mib] {
            differential.compare(&format!("a value of {length} bytes"), PUT, &large(length)).await;
        }
        let key = |length: usize| vec![b'k'; length];
        let put = |length| pb::PutRequest { key: key(length).into(), ..Default::default() };
        differential.compare("a key of 1 MiB", PUT, &put(mib)).await;
        differential.compare("a key of 1.6 MiB", PUT, &put(8 * mib / 5)).await;
        let read = |length| pb::RangeRequest { key: key(length).into(), ..Default::default() };
        differential.compare("a read of 1.6 MiB", RANGE, &read(8 * mib / 5)).await;
        differential.compare("a read of 3 MiB", RANGE, &read(3 * mib)).await;
        let delete = pb::DeleteRangeRequest { key: key(8 * mib / 5).into(), ..Default::default() };
        differential.compare("a deletion of 1.6 MiB", DELETE, &delete).await;
        let reads = vec![op(Op::RequestRange(read(mib))), op(Op::RequestRange(read(mib * 7 / 10)))];
        differential.compare("a transaction of 1.7 MiB that reads", TXN, &success(reads)).await;
        let puts = vec![op(Op::RequestPut(put(mib))), op(Op::RequestPut(large(mib * 7 / 10)))];
        differential.compare("a transaction of 1.7 MiB that writes", TXN, &success(puts)).await;
        differential.finish().await;
    });
}

#[test]
fn bad_lease_requests_are_answered_as_by_etcd() {
    of_one("bad input, leases", async |differential| bad_leases(differential).await);
}

async fn bad_leases(differential: &mut Differential) {
    let limit = 9_000_000_000;
    for ttl in [i64::MIN, -1, 0, 1, 2, 3, limit, limit + 1, i64::MAX] {
        let id = 1000 + ttl % 1000;
        let grant = pb::LeaseGrantRequest { ttl, id };
        differential.compare(&format!("{grant:?}"), GRANT, &grant).await;
        differential.compare(&format!("again {grant:?}"), GRANT, &grant).await;
    }
    for id in [i64::MIN, -1, LEASE] {
        let grant = pb::LeaseGrantRequest { ttl: 500, id };
        differential.compare(&format!("{grant:?}"), GRANT, &grant).await;
    }
    for id in [0, -2, 99, i64::MAX] {
        differential.compare(&format!("revoke {id}"), REVOKE, &pb::LeaseRevokeRequest { id }).await;
        for keys in [false, true] {
            let ask = pb::LeaseTimeToLiveRequest { id, keys };
            differential.compare(&format!("{ask:?}"), TIME_TO_LIVE, &ask).await;
        }
        let renew = pb::LeaseKeepAliveRequest { id };
        differential.compare(&format!("renew {id}"), KEEP_ALIVE, &renew).await;
    }
}

#[test]
fn bad_maintenance_requests_are_answered_as_by_etcd() {
    block_on(async {
        let Some(mut differential) = prepared("bad input, maintenance", &[]).await else { return };
        for revision in [i64::MIN, -1, 1, 3, 5, 6, 7, i64::MAX] {
            let hash = pb::HashKvRequest { revision };
            differential.compare(&format!("{hash:?}"), HASH_KV, &hash).await;
        }
        for alarm in [i32::MIN, -1, 3, 99, i32::MAX] {
            // Without activation: etcd stores every unknown alarm for good, and each one makes it
            // slower.
            for action in [0, 2] {
                for member_id in [0, 99] {
                    let bad = pb::AlarmRequest { action, member_id, alarm };
                    differential.compare(&format!("{bad:?}"), ALARM, &bad).await;
                }
            }
            let list = pb::AlarmRequest::default();
            differential.compare("the alarms are the same", ALARM, &list).await;
        }
        for target_id in [0, 1, u64::MAX] {
            let bad = pb::MoveLeaderRequest { target_id };
            differential.compare(&format!("{bad:?}"), MOVE_LEADER, &bad).await;
        }
        differential.finish().await;
    });
}

/// An unknown action crashes etcd, which dereferences an answer that it has not made. Quorate does
/// nothing, and answers without alarms.
#[test]
fn unknown_alarm_actions_do_nothing() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        for action in [i32::MIN, -1, 3, 99, i32::MAX] {
            let connection = Connection::open(&server.address()).await;
            let bad = pb::AlarmRequest { action, member_id: 1, alarm: 1 };
            let answer = connection.method(ALARM, &[bad.encode_to_vec().into()]).await;
            answer.assert_ok();
            let alarms = answer.decode::<pb::AlarmResponse>().alarms;
            assert_eq!(alarms, []);
        }
    });
    assert!(server.exit_status().is_none());
}
