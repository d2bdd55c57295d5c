//! Leadership while the network, the disks, the log or a command are slow or faulty.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::net::Net;
use quorate_test_support::proxy::ProxyMode;
use quorate_test_support::server::Server;
use quorate_test_support::slow_disk::{self, SlowDisk};
use quorate_test_support::{http, port, program, require, wait};

/// How long a write may take while a majority is connected, on a busy machine.
const STUCK: Duration = Duration::from_secs(6);

/// Makes the tests of this file run one at a time, because they measure times.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn places_but(size: usize, leader: usize) -> Vec<usize> {
    (0..size).filter(|place| *place != leader).collect()
}

/// Writes `count` values of `bytes` bytes through one member, several at a time.
fn fill(cluster: &Cluster, by: usize, count: usize, bytes: usize) {
    const AT_ONCE: usize = 16;
    let client = KvClient::new(cluster.channel(by));
    cluster.block_on(async {
        let mut under_way = tokio::task::JoinSet::new();
        for number in 0..count {
            while under_way.len() >= AT_ONCE {
                under_way.join_next().await.unwrap().unwrap();
            }
            let key = format!("fill/{number:07}").into();
            let value = vec![7; bytes].into();
            let put = pb::PutRequest { key, value, ..Default::default() };
            let mut client = client.clone();
            under_way.spawn(async move {
                client.put(put).await.unwrap();
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
    });
}

/// Four of five members run. The leader reaches only one of the others, and that one reaches all:
/// without it there is no majority, and with it there is one.
#[test]
fn a_majority_elects_a_leader_although_one_member_hears_the_old_one() {
    if !Net::can_be_made("a bridge") {
        return;
    }
    let _alone = alone();
    let mut cluster = Cluster::on_machines(&program::quorate(), 5, &[]);
    cluster.start();
    let (leader, _) = cluster.leader();
    let others = places_but(5, leader);
    let [bridge, one, two, gone] = others[..] else { unreachable!() };
    cluster.members[gone].kill();
    cluster.put(one, "before", "1");
    for cut in [one, two] {
        cluster.net().drop_one_way(leader + 1, cut + 1);
        cluster.net().drop_one_way(cut + 1, leader + 1);
    }
    // Not through the bridge, which may still forward writes to the old leader.
    let since = Instant::now();
    cluster.put(one, "after", "2");
    let took = since.elapsed();
    eprintln!("a write went on after {} ms", took.as_millis());
    assert!(took < STUCK, "a write took {took:?}");
    cluster.put(bridge, "later", "3");
    assert_eq!(cluster.get(two, "after").as_deref(), Some("2"));
    cluster.net().heal();
    assert_eq!(cluster.get(leader, "later").as_deref(), Some("3"));
}

/// Each write on the disks of both followers takes 400 ms. They must still answer the leader, so
/// that no election starts.
#[test]
fn slow_disks_of_followers_cause_no_election() {
    const SLOW: Duration = Duration::from_millis(400);
    const WRITES: usize = 160;
    // A busy machine may cause one loss of the leader.
    const LOSSES_MAX: usize = 1;
    if !require::met("slow disks", &slow_disk::NEEDS) {
        return;
    }
    let _alone = alone();
    let mut cluster = Cluster::new(&program::quorate(), 3, &[]);
    cluster.start();
    let (leader, term) = cluster.leader();
    cluster.put(leader, "first", "one");
    let losses = || {
        let logs = cluster.members.iter().map(Server::log_of_run);
        logs.map(|log| log.matches("\"no leader\"").count()).sum::<usize>()
    };
    let before = losses();
    {
        let pids = places_but(3, leader).into_iter().map(|place| cluster.members[place].pid());
        let _slow: Vec<SlowDisk> = pids.map(|pid| SlowDisk::of(pid, SLOW)).collect();
        // Without a pause, so that there are always entries that are not on disk yet.
        fill(&cluster, leader, WRITES, 8);
    }
    let lost = losses() - before;
    let now = cluster.leader();
    eprintln!("the leader was lost {lost} times, {} elections", now.1 - term);
    assert!(lost <= LOSSES_MAX && now.1 - term <= 1, "lost {lost} times, then {now:?}");
}

/// Members with one worker thread delete many keys by one command. Reads must be served meanwhile,
/// and the leader must stay.
#[test]
fn a_large_deletion_delays_neither_reads_nor_heartbeats() {
    const TXNS: usize = 150;
    const KEYS: usize = 4000;
    const READ_MAX: Duration = Duration::from_millis(1500);
    let _alone = alone();
    let mut cluster = Cluster::new(&program::quorate(), 3, &["--max-txn-ops=10000"]);
    for member in &mut cluster.members {
        member.set_launcher(&["env", "TOKIO_WORKER_THREADS=1"]);
    }
    cluster.start();
    let (leader, term) = cluster.leader();
    let client = KvClient::new(cluster.channel(leader));
    for txn in 0..TXNS {
        let puts = (0..KEYS).map(|n| {
            let key = format!("many/{:07}", txn * KEYS + n).into();
            let put = pb::PutRequest { key, value: "v".into(), ..Default::default() };
            pb::RequestOp { request: Some(Request::RequestPut(put)) }
        });
        let request = pb::TxnRequest { success: puts.collect(), ..Default::default() };
        cluster.retry("fill", async || client.clone().txn(request.clone()).await);
    }
    let delete = pb::DeleteRangeRequest {
        key: "many/".into(),
        range_end: "many0".into(),
        ..Default::default()
    };
    let readers: Vec<_> = (0..3).map(|place| KvClient::new(cluster.channel(place))).collect();
    let (deleted, took, slowest) = cluster.block_on(async {
        let since = Instant::now();
        let mut deleting = client.clone();
        let mut deletion = tokio::task::JoinSet::new();
        deletion.spawn(async move { deleting.delete_range(delete).await });
        let mut slowest = Duration::ZERO;
        loop {
            if let Some(deleted) = deletion.try_join_next() {
                let deleted = deleted.unwrap().unwrap().into_inner().deleted;
                break (deleted, since.elapsed(), slowest);
            }
            for reader in &readers {
                let key = "other".into();
                let range = pb::RangeRequest { key, serializable: true, ..Default::default() };
                let asked = Instant::now();
                reader.clone().range(range).await.unwrap();
                slowest = slowest.max(asked.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    eprintln!("deleted in {} ms, slowest read {} ms", took.as_millis(), slowest.as_millis());
    assert_eq!(deleted, i64::try_from(TXNS * KEYS).unwrap());
    assert_eq!(cluster.leader(), (leader, term), "the deletion cost the leader");
    assert!(slowest < READ_MAX, "a read took {slowest:?}");
}

/// A live member that is too slow for the writes gets a snapshot at some point, so the others need
/// not keep their whole log for it.
#[test]
fn the_log_does_not_grow_behind_a_slow_follower() {
    const RATE: u32 = 4 << 20;
    const VALUE: usize = 512 << 10;
    const VALUES: usize = 760;
    const LOG_MAX: u64 = 340 << 20;
    let _alone = alone();
    let mut cluster = Cluster::behind_proxies(&program::quorate(), 3, &[], false, 1);
    cluster.start();
    let (leader, term) = cluster.leader();
    let slow = places_but(3, leader)[0];
    cluster.proxies().set(slow, ProxyMode::Slow(RATE));
    fill(&cluster, leader, VALUES, VALUE);
    let log = |place: usize| {
        let dir = cluster.members[place].data_dir().join("member/wal");
        let files = std::fs::read_dir(dir).unwrap();
        // A file may be deleted meanwhile.
        files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum::<u64>()
    };
    let bytes = log(leader);
    eprintln!("the leader's log has {} MiB", bytes >> 20);
    assert!(bytes < LOG_MAX, "the log has {} MiB", bytes >> 20);
    assert_eq!(cluster.leader(), (leader, term));
    cluster.proxies().set(slow, ProxyMode::Pass);
    cluster.put(leader, "last", "one");
    assert_eq!(cluster.get(slow, "last").as_deref(), Some("one"));
}

/// A snapshot arrives over a slow network.
#[test]
fn a_snapshot_arrives_over_a_slow_link() {
    const RATE: u32 = 250_000;
    const VALUE: usize = 2 << 10;
    const VALUES: usize = 1500;
    const ARRIVAL_MAX: Duration = Duration::from_secs(60);
    let flags = ["--snapshot-catchup-entries=0"];
    let _alone = alone();
    let mut cluster = Cluster::behind_proxies(&program::quorate(), 3, &flags, false, 1);
    cluster.start();
    let (leader, _) = cluster.leader();
    let behind = places_but(3, leader)[0];
    cluster.members[behind].kill();
    fill(&cluster, leader, VALUES, VALUE);
    // The compaction ends only when everything is flushed and the log has dropped it.
    let compact = pb::CompactionRequest { revision: 2, physical: true };
    let client = KvClient::new(cluster.channel(leader));
    cluster.retry("compact", async || client.clone().compact(compact).await);
    cluster.proxies().set(behind, ProxyMode::Slow(RATE));
    let since = Instant::now();
    // A member serves clients only when it has the snapshot.
    let [port] = port::free();
    let pages = format!("127.0.0.1:{port}");
    cluster.members[behind].add_flags(&[&format!("--listen-metrics-urls=http://{pages}")]);
    cluster.members[behind].spawn();
    let names = ["quorate_snapshot_received_bytes", "quorate_snapshot_expected_bytes"];
    let expected = wait::until("a part of the snapshot", ARRIVAL_MAX, || {
        let [received, expected] = names.map(|name| http::metric(&pages, name));
        (received? > 0.0 && received < expected).then_some(expected?)
    });
    let written = f64::from(u32::try_from(VALUES * VALUE).unwrap());
    assert!(written < expected && expected < 2.0 * written, "{expected} bytes expected");
    let url = cluster.members[behind].url();
    let last = format!("fill/{:07}", VALUES - 1);
    wait::until("the snapshot has arrived", ARRIVAL_MAX, || {
        let mut reader = KvClient::new(cluster.channel(behind));
        let key = last.clone().into();
        let range = pb::RangeRequest { key, serializable: true, ..Default::default() };
        let found = cluster.block_on(async { reader.range(range).await });
        found.ok()?.into_inner().kvs.first().map(drop)
    });
    eprintln!("{url} has everything after {} ms", since.elapsed().as_millis());
    let said = cluster.members[behind].log_of_run();
    assert!(said.contains("installing a snapshot"), "the log was enough");
    assert_eq!(http::metric(&pages, names[0]), Some(0.0), "the transfer is over");
}
