//! `/metrics` has etcd's names, types, labels and bucket bounds, and after the same requests the
//! same counts. Its form is etcd's, except protobuf.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::{Call, Connection, frame};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::metrics::{Labels, Sample, samples};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, http};

/// Metrics of etcd that Quorate lacks: the reason, and the beginnings of their names.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    ("of Go and its library", &["go_", "promhttp_", "etcd_server_go_version"]),
    (
        "of how bbolt commits",
        &[
            "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
            "etcd_debugging_disk_backend_commit_spill_duration_seconds",
            "etcd_debugging_disk_backend_commit_write_duration_seconds",
        ],
    ),
    (
        "of the index in memory",
        &["etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds"],
    ),
    ("of the v2 store", &["etcd_debugging_store_"]),
    ("of the proxy", &["etcd_grpc_proxy_"]),
    ("of files with snapshots", &["etcd_snap_", "etcd_debugging_snap_"]),
    ("of a loop that Quorate lacks", &["etcd_debugging_server_watch_send_loop_"]),
];

/// Metrics whose non-zero series must have the same values; of histograms, the counts.
const SAME: &[&str] = &[
    "etcd_cluster_version",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_ttl_total",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
    "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_disk_backend_defrag_duration_seconds",
    "etcd_disk_defrag_inflight",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_hash_duration_seconds",
    "etcd_mvcc_hash_rev_duration_seconds",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_known_peers",
    "etcd_server_apply_duration_seconds",
    "etcd_server_client_requests_total",
    "etcd_server_has_leader",
    "etcd_server_health_success",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_learner_promote_successes",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_range_duration_seconds",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_request_duration_seconds",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "grpc_server_handled_total",
    "grpc_server_started_total",
    "os_fd_limit",
    "process_max_fds",
    "process_virtual_memory_max_bytes",
];

/// Headers of requests for the page.
const FORMS: [&[(&str, &str)]; 28] = [
    &[],
    &[("Accept", "*/*")],
    &[("Accept", "application/json")],
    &[("Accept", "text/plain")],
    &[("Accept", "text/plain;version=0.0.4;escaping=dots")],
    &[("Accept", "text/plain;version=1.0.0;escaping=values")],
    &[("Accept", "text/plain;escaping=unknown")],
    &[("Accept", "text/plain; q=0.5; escaping=dots, text/html; escaping=values")],
    &[("Accept", "text/plain; q=0.5; escaping=dots, text/html; escaping=values; q=0.4")],
    &[("Accept", "text/plain; q=none; escaping=dots, text/html;escaping=values;q=0")],
    &[("Accept", "text/html; escaping=values"), ("Accept", "text/html; escaping=dots")],
    &[("Accept", "application/openmetrics-text")],
    &[("Accept", "application/openmetrics-text; version=1.0.0")],
    &[("Accept", "application/openmetrics-text; version=0.0.1, text/plain; q=0.5")],
    &[("Accept", PROMETHEUS_3), ("Accept-Encoding", "gzip")],
    &[("Accept", PROMETHEUS_2), ("Accept-Encoding", "gzip")],
    &[("Accept-Encoding", "gzip")],
    &[("Accept-Encoding", "gzip, deflate, br, zstd")],
    &[("Accept-Encoding", "zstd")],
    &[("Accept-Encoding", "GZIP")],
    &[("Accept-Encoding", "gzip;q=0")],
    &[("Accept-Encoding", "gzip;q=0, *")],
    &[("Accept-Encoding", "*")],
    &[("Accept-Encoding", "*, gzip")],
    &[("Accept-Encoding", "identity;q=0.5, gzip;q=0.6")],
    &[("Accept-Encoding", "identity;q=0.6 , gzip ; q=0.5")],
    &[("Accept-Encoding", "gzip;level=1")],
    &[("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")],
];
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
    application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
/// The type that etcd also offers.
const PROTOBUF: &str = "application/vnd.google.protobuf;\
    proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Requests that the servers make themselves at their start.
const AT_START: [&str; 2] = ["ClusterMemberAttrSet", "ClusterVersionSet"];

/// One metric of a page.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// Label names, without `le`.
    labels: BTreeSet<String>,
    /// A histogram's bounds.
    bounds: BTreeSet<String>,
    /// Values; of a histogram, the counts.
    values: BTreeMap<Labels, f64>,
}

fn families(server: &Server) -> BTreeMap<String, Family> {
    let page = http::get(&server.address(), "/metrics").unwrap();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let family = Family { kind: kind.to_owned(), ..Family::default() };
        assert!(families.insert(name.to_owned(), family).is_none(), "{name} is there twice");
    }
    for Sample { name, mut labels, value } in samples(&page) {
        let endings = ["_bucket", "_sum", "_count"];
        let histogram = endings.iter().find_map(|end| {
            let start = name.strip_suffix(end)?;
            families.contains_key(start).then_some((start, *end))
        });
        let (name, ending) = histogram.unwrap_or((&name, ""));
        let family = families.get_mut(name).unwrap();
        // The servers format equal numbers differently: 1048576 and 1.048576e+06.
        let bound = labels.remove("le").map(|bound| bound.parse::<f64>().unwrap().to_string());
        family.bounds.extend(bound);
        family.labels.extend(labels.keys().cloned());
        if ending.is_empty() || ending == "_count" {
            family.values.insert(labels, value);
        }
    }
    families
}

fn put(key: &str, change: impl FnOnce(&mut pb::PutRequest)) -> pb::PutRequest {
    let mut put = pb::PutRequest { key: key.to_owned().into(), ..Default::default() };
    put.value = "value".into();
    change(&mut put);
    put
}

fn range(key: &str, change: impl FnOnce(&mut pb::RangeRequest)) -> pb::RangeRequest {
    let mut range = pb::RangeRequest { key: key.to_owned().into(), ..Default::default() };
    change(&mut range);
    range
}

fn delete(key: &str, range_end: &str, prev_kv: bool) -> pb::DeleteRangeRequest {
    let key = key.to_owned().into();
    let range_end = range_end.to_owned().into();
    pb::DeleteRangeRequest { key, range_end, prev_kv }
}

fn version_is(key: &str, version: i64) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Version as i32,
        key: key.to_owned().into(),
        target_union: Some(TargetUnion::Version(version)),
        ..Default::default()
    }
}

fn txn(compare: Vec<pb::Compare>, success: Vec<Request>) -> pb::TxnRequest {
    let success = success.into_iter().map(|request| pb::RequestOp { request: Some(request) });
    pb::TxnRequest { compare, success: success.collect(), failure: Vec::new() }
}

type Calls = Vec<(&'static str, Vec<u8>)>;

fn writes() -> Calls {
    let call = |message: pb::PutRequest| ("/etcdserverpb.KV/Put", message.encode_to_vec());
    let mut calls = vec![
        call(put("a", |_| {})),
        call(put("a", |put| put.prev_kv = true)),
        call(put("a", |put| (put.value, put.ignore_value) = (Bytes::new(), true))),
        call(put("missing", |put| put.ignore_lease = true)),
        call(put("a", |put| put.lease = 404)),
        call(put("large", |put| put.value = vec![0; 1_600_000].into())),
    ];
    calls.extend((0..60).map(|n| call(put(&format!("k{n}"), |_| {}))));
    let deletions = [delete("k1", "", true), delete("k2", "k5", false), delete("none", "", true)];
    let deletions = deletions.iter().map(Message::encode_to_vec);
    calls.extend(deletions.map(|deletion| ("/etcdserverpb.KV/DeleteRange", deletion)));
    calls
}

fn reads() -> Calls {
    let call = |range: pb::RangeRequest| ("/etcdserverpb.KV/Range", range.encode_to_vec());
    let stream = |range: pb::RangeRequest| ("/etcdserverpb.KV/RangeStream", range.encode_to_vec());
    vec![
        call(range("a", |_| {})),
        call(range("a", |range| range.serializable = true)),
        call(range("k", |range| range.range_end = "l".into())),
        call(range("k", |range| (range.range_end, range.count_only) = ("l".into(), true))),
        call(range("a", |range| range.revision = 1 << 40)),
        call(range("", |_| {})),
        stream(range("k", |range| range.range_end = "l".into())),
        stream(range("k", |range| (range.range_end, range.limit) = ("l".into(), 15))),
        stream(range("k", |range| (range.range_end, range.count_only) = ("l".into(), true))),
    ]
}

fn txns() -> Calls {
    let read = || Request::RequestRange(range("a", |_| {}));
    let write = || Request::RequestPut(put("t", |put| put.prev_kv = true));
    let held = || vec![version_is("a", 3), version_is("none", 0)];
    let nested = txn(held(), vec![write(), Request::RequestDeleteRange(delete("k6", "", true))]);
    let refused = Request::RequestPut(put("none", |put| put.ignore_lease = true));
    let txns = [
        txn(held(), vec![read(), Request::RequestTxn(nested), read()]),
        txn(Vec::new(), vec![Request::RequestPut(put("t", |_| {}))]),
        txn(vec![version_is("a", 99), version_is("a", 3)], vec![write()]),
        txn(held(), vec![write(), refused]),
        txn(Vec::new(), vec![read()]),
        txn(held(), vec![read(), read()]),
        txn(vec![], vec![Request::RequestRange(range("a", |range| range.revision = 1 << 40))]),
    ];
    txns.iter().map(|txn| ("/etcdserverpb.KV/Txn", txn.encode_to_vec())).collect()
}

fn the_rest() -> Calls {
    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl }.encode_to_vec();
    let leased = |key: &str| put(key, |put| put.lease = 7).encode_to_vec();
    let revoke = |id| pb::LeaseRevokeRequest { id }.encode_to_vec();
    let compact = |revision| pb::CompactionRequest { revision, physical: true }.encode_to_vec();
    vec![
        ("/etcdserverpb.Lease/LeaseGrant", grant(7, 60)),
        ("/etcdserverpb.Lease/LeaseGrant", grant(7, 60)),
        ("/etcdserverpb.Lease/LeaseGrant", grant(8, 9_000_000_001)),
        ("/etcdserverpb.Lease/LeaseGrant", grant(9, 3000)),
        ("/etcdserverpb.KV/Put", leased("l1")),
        ("/etcdserverpb.KV/Put", leased("l2")),
        (
            "/etcdserverpb.Lease/LeaseTimeToLive",
            pb::LeaseTimeToLiveRequest::default().encode_to_vec(),
        ),
        ("/etcdserverpb.Lease/LeaseRevoke", revoke(7)),
        ("/etcdserverpb.Lease/LeaseRevoke", revoke(9)),
        ("/etcdserverpb.Lease/LeaseRevoke", revoke(7)),
        ("/etcdserverpb.KV/Compact", compact(40)),
        ("/etcdserverpb.KV/Compact", compact(40)),
        ("/etcdserverpb.KV/Compact", compact(1 << 40)),
        ("/etcdserverpb.Maintenance/Alarm", Vec::new()),
        ("/etcdserverpb.Maintenance/Status", Vec::new()),
        ("/etcdserverpb.Maintenance/Hash", Vec::new()),
        ("/etcdserverpb.Maintenance/HashKV", Vec::new()),
        ("/etcdserverpb.Maintenance/Defragment", Vec::new()),
        ("/etcdserverpb.Cluster/MemberList", Vec::new()),
    ]
}

/// Two watchers on one stream, one of which starts in the past. Both have received all events.
async fn watch(connection: &Connection) -> Call {
    let create = |key: &str, start_revision| {
        let key = key.to_owned().into();
        let create = pb::WatchCreateRequest { key, start_revision, ..Default::default() };
        let request_union = Some(RequestUnion::CreateRequest(create));
        frame(&pb::WatchRequest { request_union }.encode_to_vec())
    };
    let request = Connection::request("/etcdserverpb.Watch/Watch");
    let mut call = connection.start(request, create("w", 0), false).await;
    assert!(call.wait_for_messages(1).await);
    for count in 2..4 {
        let put = put("w", |_| {}).encode_to_vec().into();
        connection.method("/etcdserverpb.KV/Put", &[put]).await;
        assert!(call.wait_for_messages(count).await);
    }
    call.send(create("w", 2), false);
    assert!(call.wait_for_messages(5).await);
    call
}

/// Sends every request to a server. Returns its metrics afterwards, and the status of each answer.
async fn measure(server: &Server) -> (BTreeMap<String, Family>, Vec<String>) {
    let connection = Connection::open(&server.address()).await;
    let watching = watch(&connection).await;
    let mut ends = Vec::new();
    for (path, message) in [writes(), reads(), txns(), the_rest()].concat() {
        let answer = connection.method(path, &[message.into()]).await;
        ends.push(format!("{path}: {:?} {}", answer.code, answer.message));
    }
    assert!(http::get(&server.address(), "/health").unwrap().contains("true"));
    let families = families(server);
    drop(watching);
    (families, ends)
}

fn reason(name: &str) -> Option<&'static str> {
    let listed = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
    EXCEPTIONS.iter().find(|(_, names)| listed(names)).map(|(reason, _)| *reason)
}

/// Non-zero series, without the servers' own requests.
fn counted(family: &Family) -> BTreeMap<&Labels, f64> {
    let own = |labels: &Labels| labels.values().any(|value| AT_START.contains(&value.as_str()));
    let values = family.values.iter().filter(|(labels, value)| **value != 0.0 && !own(labels));
    values.map(|(labels, value)| (labels, *value)).collect()
}

fn compare(quorate: &BTreeMap<String, Family>, etcd: &BTreeMap<String, Family>) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, theirs) in etcd {
        let ours = match (quorate.get(name), reason(name)) {
            (Some(ours), None) => ours,
            (None, Some(_)) => continue,
            (None, None) => {
                differences.push(format!("{name} is missing"));
                continue;
            }
            (Some(_), Some(reason)) => {
                differences.push(format!("{name} is there, although it is {reason}"));
                continue;
            }
        };
        if (&ours.kind, &ours.labels) != (&theirs.kind, &theirs.labels) {
            differences.push(format!(
                "{name}: quorate {} {:?}, etcd {} {:?}",
                ours.kind, ours.labels, theirs.kind, theirs.labels
            ));
        }
        if ours.bounds != theirs.bounds {
            let ours = &ours.bounds;
            let theirs = &theirs.bounds;
            differences.push(format!("{name}: bounds {ours:?}, etcd's {theirs:?}"));
        }
        let ours = counted(ours);
        let theirs = counted(theirs);
        if SAME.contains(&name.as_str()) && ours != theirs {
            differences.push(format!("{name}:\n  quorate {ours:?}\n  etcd    {theirs:?}"));
        }
    }
    differences
}

#[test]
fn metrics_equal_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("metrics", &[]) else { return };
    let [(quorate, our_ends), (etcd, their_ends)] = block_on(async {
        let [(_, quorate), (_, etcd)] = pair.both();
        [measure(quorate).await, measure(etcd).await]
    });
    pair.assert_sound();
    assert_eq!(our_ends, their_ends);
    for (reason, names) in EXCEPTIONS {
        for start in *names {
            let known = etcd.keys().any(|name| name.starts_with(start));
            assert!(known, "etcd has no {start} either ({reason})");
        }
    }
    for name in SAME {
        assert!(etcd.contains_key(*name), "etcd has no {name}");
    }
    let differences = compare(&quorate, &etcd);
    assert!(differences.is_empty(), "{} differ:\n\n{}", differences.len(), differences.join("\n"));
}

/// The content type and the coding of a server's answer, which must be a page of metrics.
fn form(server: &Server, headers: &[(&str, &str)]) -> [Option<String>; 2] {
    let (head, mut body) = http::ask_with(&server.address(), "GET", "/metrics", headers).unwrap();
    assert!(head.contains(" 200 OK"), "{head}");
    let [content_type, coding] = ["content-type", "content-encoding"].map(|wanted| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_owned())
    });
    if coding.is_some() {
        let coded = std::mem::take(&mut body);
        MultiGzDecoder::new(&coded[..]).read_to_end(&mut body).unwrap();
    }
    if content_type.as_ref().is_some_and(|it| it.starts_with("text/plain")) {
        let page = String::from_utf8(body).unwrap();
        assert!(page.contains("# TYPE etcd_server_has_leader gauge\n"), "{page}");
        assert!(!page.contains("# EOF"), "{page}");
    }
    [content_type, coding]
}

#[test]
fn the_page_has_the_form_that_etcd_chooses() {
    let Some(mut pair) = ServerPair::start("forms of metrics", &[]) else { return };
    let mut forms = BTreeSet::new();
    for headers in FORMS {
        let [ours, theirs] = pair.both().map(|(_, server)| form(server, headers));
        assert_eq!(ours, theirs, "{headers:?}");
        forms.insert(ours);
    }
    // The default, without and with gzip, and three other ways of writing names, one with gzip.
    assert_eq!(forms.len(), 5, "{forms:?}");
    let [ours, theirs] =
        pair.both().map(|(_, server)| form(server, &[("Accept", PROTOBUF)])[0].clone().unwrap());
    assert!(theirs.starts_with("application/vnd.google.protobuf;"), "{theirs}");
    assert!(ours.starts_with("text/plain;"), "{ours}");
    pair.assert_sound();
}
