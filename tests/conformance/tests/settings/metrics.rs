//! Metrics mean what the authors of alert rules for etcd expect.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::watch_client::WatchClient;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{http, program, wait};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::rules::{self, Page, Span};
use super::{alarm, alarms, put};

const MIB: usize = 1 << 20;
/// Number of time spans over which the rules are evaluated.
const SPANS: usize = 3;
/// Bytes written per span, enough to make each member flush.
const WRITTEN: usize = 40 * MIB;
const VALUE: usize = 64 << 10;
const WRITERS: usize = 4;
/// Number of keys that a writer overwrites repeatedly.
const KEYS: usize = 16;

/// Writes, reads, watches and compacts through one member.
async fn be_busy(channel: Channel, writer: usize) {
    let mut client = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut watches = WatchClient::new(channel);
    for number in 0..WRITTEN / VALUE / WRITERS {
        let key = format!("{writer}/{}", number % KEYS);
        let value = vec![u8::try_from(number % 256).unwrap(); VALUE].into();
        let put = pb::PutRequest { key: key.clone().into(), value, ..Default::default() };
        let revision = client.put(put).await.unwrap().into_inner().header.unwrap().revision;
        let range = pb::RangeRequest { key: key.clone().into(), ..Default::default() };
        client.range(range).await.unwrap();
        if number % KEYS == 0 {
            // Creates a watcher that soon ends.
            let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
            let request_union = Some(RequestUnion::CreateRequest(create));
            let requests = tokio_stream::once(pb::WatchRequest { request_union });
            let mut watch = watches.watch(requests).await.unwrap().into_inner();
            watch.message().await.unwrap();
            // Another writer may have compacted to a later revision.
            let compact = pb::CompactionRequest { revision, physical: false };
            if let Err(refused) = client.compact(compact).await {
                assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
            }
        }
    }
}

#[test]
fn a_busy_cluster_triggers_no_alert() {
    let cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    // Starting members fail to reach each other at first; the spans begin after that.
    cluster.put(0, "warm", "up");
    let mut spans = Vec::new();
    let started = Instant::now();
    for _ in 0..SPANS {
        let before = rules::pages(&cluster);
        let channels: Vec<Channel> = (0..WRITERS).map(|i| cluster.channel(i % 3)).collect();
        cluster.block_on(async {
            let writers = channels.into_iter().enumerate();
            let writers: JoinSet<_> = writers.map(|(i, channel)| be_busy(channel, i)).collect();
            writers.join_all().await;
        });
        // Waits for flushes, so that the rules see them, too.
        wait::until("all members flush", Duration::from_secs(60), || {
            let pages = rules::pages(&cluster);
            let syncs = "etcd_disk_backend_commit_duration_seconds_count";
            let flushed = pages
                .iter()
                .zip(&before)
                .all(|(now, before)| now.value(syncs) > before.value(syncs));
            flushed.then_some(())
        });
        let after = rules::pages(&cluster);
        let both = before.into_iter().zip(after);
        spans.push(both.map(|(before, after)| Span { before, after }).collect());
    }
    println!("{SPANS} spans took {:?}", started.elapsed());
    let alerts = rules::alerts(&spans);
    assert!(alerts.is_empty(), "{alerts:#?}");
}

/// Each member measures the round-trip time to each other member, whether it leads or not.
#[test]
fn every_member_measures_the_round_trip_to_every_other() {
    let cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    let ids: Vec<String> =
        (0..3).map(|member| format!("{:x}", cluster.member_id(member))).collect();
    for (me, member) in cluster.members.iter().enumerate() {
        let others: BTreeSet<String> =
            ids.iter().enumerate().filter(|(it, _)| *it != me).map(|(_, id)| id.clone()).collect();
        wait::until("measurements of all ways", Duration::from_secs(30), || {
            let page = Page::get(&member.address())?;
            let ways = page.series("etcd_network_peer_round_trip_time_seconds_count").iter();
            let ways: BTreeSet<String> = ways
                .filter(|(_, count)| *count > 0.0)
                .map(|(labels, _)| labels["To"].clone())
                .collect();
            (ways == others).then_some(())
        });
    }
}

/// The low-space rule alerts shortly before writes are refused. Deleted and compacted data do not
/// count.
#[test]
fn the_size_metric_is_what_the_quota_counts() {
    const QUOTA: usize = 32 * MIB;
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let cluster = Cluster::start_new(&program::quorate(), 1, &[&quota]);
    let low = || {
        let page = Page::get(&cluster.members[0].address()).unwrap();
        rules::low_space(&Span { before: page.clone(), after: page })
    };
    let mut client = KvClient::new(cluster.channel(0));
    for _ in 0..4 {
        for number in 0..24 {
            put(&cluster, 0, &format!("k{number}"), MIB).unwrap();
        }
        let delete =
            pb::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
        let deleted = cluster.block_on(async { client.delete_range(delete).await }).unwrap();
        let revision = deleted.into_inner().header.unwrap().revision;
        let compact = pb::CompactionRequest { revision, physical: true };
        cluster.block_on(async { client.compact(compact).await }).unwrap();
        assert_eq!(low(), Vec::<String>::new());
    }
    let file =
        Page::get(&cluster.members[0].address()).unwrap().value("quorate_db_file_size_in_bytes");
    println!("a file of {file} bytes with a quota of {QUOTA}");
    let mut number = 0;
    while low().is_empty() {
        put(&cluster, 0, &format!("k{number}"), MIB / 4).unwrap();
        number += 1;
    }
    let mut refused = Ok(());
    for number in 0..12 {
        refused = refused.and_then(|()| put(&cluster, 0, &format!("m{number}"), MIB / 4));
    }
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(alarms(&cluster, 0).len(), 1);
    assert_eq!(alarm(&cluster, 0, [2, 1], cluster.member_id(0)).unwrap().len(), 1);
}

#[test]
fn an_unlimited_quota_triggers_no_alert() {
    let cluster = Cluster::start_new(&program::quorate(), 1, &["--quota-backend-bytes=-1"]);
    cluster.put(0, "k", "v");
    assert_eq!(cluster.status(0).db_size_quota, -1);
    let page = Page::get(&cluster.members[0].address()).unwrap();
    let span = Span { before: page.clone(), after: page };
    assert_eq!(rules::alerts(&[vec![span]]), Vec::<String>::new());
}

/// Clients choose the value of `client-api-version`, which is a label. They must not be able to
/// create many series.
#[test]
fn clients_cannot_create_series() {
    let cluster = Cluster::start_new(&program::quorate(), 1, &[]);
    let address = cluster.members[0].address();
    let count = || http::get(&address, "/metrics").unwrap().lines().count();
    cluster.put(0, "warm", "up");
    let before = count();
    cluster.block_on(async {
        let connection = Connection::open(&address).await;
        for number in 0..2000 {
            let versions =
                [format!("3.{number}"), format!("x{number}"), format!("3.{}", "9".repeat(number))];
            for version in versions {
                let mut request = Connection::request("/etcdserverpb.Maintenance/Status");
                let headers = request.headers_mut();
                headers.insert("client-api-version", version.parse().unwrap());
                let answer =
                    connection.call(request, quorate_test_conformance::raw::frame(&[])).await;
                answer.assert_ok();
            }
        }
        // Other parts of a call must not, either: methods, services, paths, parameters.
        for number in 0..100 {
            for path in [format!("/etcdserverpb.KV/M{number}"), format!("/s{number}/Put")] {
                connection.method(&path, &[]).await;
            }
            http::get(&address, &format!("/health?exclude=X{number}"));
            http::get(&address, &format!("/livez/x{number}"));
            http::get(&address, &format!("/readyz?exclude=x{number}"));
        }
    });
    let after = count();
    println!("{before} lines, then {after}");
    assert!(after < before + 200, "{before} lines, then {after}");
    let page = Page::get(&address).unwrap();
    let versions = page.series("etcd_server_client_requests_total").iter();
    let counted: f64 = versions.map(|(_, count)| count).sum();
    assert!(counted >= 6000.0, "{counted}");
}
