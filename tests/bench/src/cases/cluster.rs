//! Three members: puts by one client and by a thousand, and linearizable reads on each member.

use anyhow::Result;

use super::{Bench, VALUE_BYTES, prose};
use crate::client::closed::{self, Load};
use crate::client::go;
use crate::client::message::{self, Rpc};
use crate::comparison::{self, Comparison, Target};
use crate::meter::{Meter, Used};
use crate::report::Section;
use crate::subject::{Cluster, Pair};

const MEMBERS: usize = 3;
const ROUNDS: u32 = 3;
const KEYS: u64 = 100_000;
const ONE_PUTS: u64 = 4_000;
const ONE_WARM_UP: u64 = 500;
const MANY_CONNECTIONS: usize = 100;
const MANY_CLIENTS: usize = 1000;
const MANY_PUTS: u64 = 100_000;
const ONE_READS: u64 = 8_000;
const READS: u64 = 100_000;

/// The figures of one cluster in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    one_median: f64,
    one_by_follower: f64,
    one_go_median: f64,
    lean_per_second: f64,
    lean_cpu: f64,
    go_per_second: f64,
    go_cpu: f64,
    /// One client's median read in microseconds, and a thousand clients' reads per second: at the
    /// leader, and the worse value of the followers.
    read_median: [f64; 2],
    reads: [f64; 2],
}

/// Measures both clusters in turn, in each round.
pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let rounds = bench.alternate("three members", ROUNDS, |name| {
        let mut writes = [(0.0, 0.0); 2];
        for (number, way) in [lean, benchmark].into_iter().enumerate() {
            let cluster = bench.programs.start_cluster(name, MEMBERS)?;
            writes[number] = way(bench, &cluster)?;
        }
        let cluster = bench.programs.start_cluster(name, MEMBERS)?;
        let addresses = cluster.addresses()?;
        let (leader, followers) = addresses.split_first().expect("a leader");
        fill(leader)?;
        let leads = reads(bench, leader)?;
        let mut follows = (0.0, f64::INFINITY);
        for follower in followers {
            let (median, per_second) = reads(bench, follower)?;
            follows = (f64::max(follows.0, median), f64::min(follows.1, per_second));
        }
        let one_median = one_writes(bench, leader)?;
        let one_by_follower = one_writes(bench, &followers[0])?;
        let one_go_median = go_puts(bench, leader, (1, 1), ONE_PUTS)?.median;
        Ok(Figures {
            one_median,
            one_by_follower,
            one_go_median,
            lean_per_second: writes[0].0,
            lean_cpu: writes[0].1,
            go_per_second: writes[1].0,
            go_cpu: writes[1].1,
            read_median: [leads.0, follows.0],
            reads: [leads.1, follows.1],
        })
    })?;
    Ok(vec![section(&rounds)])
}

/// The median time of a put by one client, in microseconds.
fn one_writes(bench: &Bench, address: &str) -> Result<f64> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(message::scattered(n, KEYS), &value));
    closed::drive(address, Load::of(1, 1, ONE_WARM_UP), Rpc::Put, put.clone())?;
    let outcome = closed::drive(address, Load::of(1, 1, bench.size(ONE_PUTS)), Rpc::Put, put)?;
    Ok(outcome.latencies.median())
}

/// Puts the keys that the reads ask for.
fn fill(address: &str) -> Result<()> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(message::scattered(n, KEYS), &value));
    closed::drive(address, Load::of(MANY_CONNECTIONS, MANY_CLIENTS, KEYS), Rpc::Put, put)?;
    Ok(())
}

/// Linearizable reads of single existing keys: the median of one client in microseconds, and the
/// reads per second of a thousand clients.
fn reads(bench: &Bench, address: &str) -> Result<(f64, f64)> {
    let get = |n| message::framed(&message::get(message::scattered(n, KEYS)));
    let one = closed::drive(address, Load::of(1, 1, bench.size(ONE_READS)), Rpc::Range, get)?;
    let load = Load::of(MANY_CONNECTIONS, MANY_CLIENTS, bench.size(READS));
    let many = closed::drive(address, load, Rpc::Range, get)?;
    Ok((one.latencies.median(), many.per_second()))
}

fn per_put(used: &Used, puts: u64) -> f64 {
    used.server.cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(puts).unwrap_or(u32::MAX))
}

/// Puts per second of a thousand lean clients spread over all members, and CPU time of all members
/// per put in microseconds.
fn lean(bench: &Bench, cluster: &Cluster) -> Result<(f64, f64)> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(message::scattered(n, KEYS), &value));
    let load = Load::of(MANY_CONNECTIONS, MANY_CLIENTS, bench.size(MANY_PUTS));
    let addresses = cluster.addresses()?.join(",");
    let meter = Meter::start_all(cluster.pids())?;
    let outcome = closed::drive(&addresses, load, Rpc::Put, put)?;
    let used = meter.used()?;
    Ok((outcome.per_second(), per_put(&used, outcome.latencies.count())))
}

/// Like [`lean`], with etcd's load generator.
fn benchmark(bench: &Bench, cluster: &Cluster) -> Result<(f64, f64)> {
    let addresses = cluster.addresses()?.join(",");
    let meter = Meter::start_all(cluster.pids())?;
    let said = go_puts(bench, &addresses, (MANY_CONNECTIONS, MANY_CLIENTS), MANY_PUTS)?;
    Ok((said.per_second, per_put(&meter.used()?, bench.size(MANY_PUTS))))
}

/// Puts by etcd's load generator with this many connections and clients.
fn go_puts(
    bench: &Bench,
    addresses: &str,
    (connections, clients): (usize, usize),
    total: u64,
) -> Result<go::Summary> {
    let total = bench.size(total);
    let puts = go::Puts { connections, clients, total, keys: KEYS, value_bytes: VALUE_BYTES };
    go::puts(&bench.programs.benchmark, addresses, puts)
}

const TEXT: &str = "Three members on this machine, without TLS between them, new data in every \
    round. Puts of 256 B: by one client at the leader and at a follower, and by 1000 clients on \
    100 connections spread over all members, our lean ones and those of etcd's `benchmark`. \
    Linearizable reads of single keys that exist, at each member; of the followers, the one where \
    they are worse.";

fn section(rounds: &[Pair<Figures>]) -> Section {
    let compare = |what: &str, get: fn(&Figures) -> f64| Comparison::new(what, rounds, get);
    let comparisons = [
        compare("one client at the leader: p50, µs", |f| f.one_median).target(Target::AtMost(0.7)),
        compare("one client at a follower: p50, µs", |f| f.one_by_follower),
        compare("one client of `benchmark` at the leader: p50, µs", |f| f.one_go_median)
            .target(Target::AtMost(0.7)),
        compare("1000 lean clients: puts per second", |f| f.lean_per_second),
        compare("1000 lean clients: CPU of all members per put, µs", |f| f.lean_cpu)
            .target(Target::AtMost(0.4)),
        compare("1000 clients of `benchmark`: puts per second", |f| f.go_per_second)
            .target(Target::AtLeast(1.8)),
        compare("1000 clients of `benchmark`: CPU of all members per put, µs", |f| f.go_cpu)
            .target(Target::AtMost(0.4)),
        compare("read at the leader: p50, µs", |f| f.read_median[0]).target(Target::AtMost(1.0)),
        compare("read at a follower: p50, µs", |f| f.read_median[1]).target(Target::AtMost(1.0)),
        compare("reads per second at the leader", |f| f.reads[0]).target(Target::AtLeast(1.0)),
        compare("reads per second at a follower", |f| f.reads[1]).target(Target::AtLeast(1.0)),
    ];
    Section {
        title: "Three members".to_owned(),
        text: prose(TEXT),
        tables: comparison::tables(&comparisons),
    }
}
