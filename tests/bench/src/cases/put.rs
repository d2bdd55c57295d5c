//! Puts by one client, and by a thousand clients on a hundred connections.

use anyhow::{Result, ensure};

use super::{Bench, VALUE_BYTES, count, prose};
use crate::client::closed::{self, Load};
use crate::client::go;
use crate::client::message::{self, Rpc};
use crate::comparison::{self, Comparison, Target};
use crate::meter::{Meter, Used};
use crate::report::Section;
use crate::subject::{Name, Pair, Subject};

const ROUNDS: u32 = 5;
/// The number of different keys; puts overwrite them again and again.
const KEYS: u64 = 100_000;
/// One client's measured puts per round, and the unmeasured ones before them.
const ONE_PUTS: u64 = 8_000;
const ONE_WARM_UP: u64 = 500;
const MANY_CONNECTIONS: usize = 100;
const MANY_CLIENTS: usize = 1000;
const MANY_PUTS: u64 = 200_000;

/// The figures of one server in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    /// Microseconds.
    median: f64,
    p99: f64,
    server_cpu: f64,
    client_cpu: f64,
    written_bytes: f64,
    others_cpus: f64,
}

impl Figures {
    fn new(puts: u64, per_second: f64, median: f64, p99: f64, used: &Used) -> Self {
        let per_put = |all: f64| all / f64::from(u32::try_from(puts).unwrap_or(u32::MAX));
        let written: u32 = (used.server.written_bytes / 1024).try_into().unwrap_or(u32::MAX);
        Self {
            per_second,
            median,
            p99,
            server_cpu: per_put(used.server.cpu.as_secs_f64() * 1e6),
            client_cpu: per_put(used.client_cpu.as_secs_f64() * 1e6),
            written_bytes: per_put(f64::from(written) * 1024.0),
            others_cpus: used.others_cpus,
        }
    }
}

/// Selects the targets of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    One,
    Many,
}

/// The sections of one client, of many lean clients, and of etcd's load generator.
pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let one = bench.alternate("put, one client", ROUNDS, |name| {
        let subject = bench.programs.start(name)?;
        lean(&subject, Load::of(1, 1, ONE_WARM_UP))?;
        lean(&subject, Load::of(1, 1, bench.size(ONE_PUTS)))
    })?;
    let go_one = bench.alternate("put, one client of etcd's", ROUNDS, |name| {
        benchmark(bench, name, Load::of(1, 1, bench.size(ONE_PUTS)))
    })?;
    let many = Load::of(MANY_CONNECTIONS, MANY_CLIENTS, bench.size(MANY_PUTS));
    let lean_many = bench
        .alternate("put, lean clients", ROUNDS, |name| lean(&bench.programs.start(name)?, many))?;
    let go_many =
        bench.alternate("put, etcd's benchmark", ROUNDS, |name| benchmark(bench, name, many))?;
    Ok(vec![
        section("Put of 256 B by one client, lean client", ONE_TEXT, &one, Clients::One),
        section(
            "Put of 256 B by one client, etcd's `benchmark`",
            GO_ONE_TEXT,
            &go_one,
            Clients::One,
        ),
        section("Put of 256 B by 1000 clients, lean client", LEAN_TEXT, &lean_many, Clients::Many),
        section(
            "Put of 256 B by 1000 clients, etcd's `benchmark`",
            GO_TEXT,
            &go_many,
            Clients::Many,
        ),
    ])
}

const ONE_TEXT: &str = "One connection, one put at a time, keys of 8 B without order; a new data \
    directory in every round, and some puts before those that are measured.";
const GO_ONE_TEXT: &str = "The same by etcd's own load generator: `benchmark --conns=1 --clients=1 \
    put --key-size=8 --val-size=256`.";
const LEAN_TEXT: &str = "100 connections with 10 clients each, every client one put at a time, by \
    the client of `tests/bench`, which runs on one thread; a new data directory in every round.";
const GO_TEXT: &str = "The same by etcd's own load generator: `benchmark --conns=100 \
    --clients=1000 put --key-size=8 --val-size=256`. It takes a good part of the machine for \
    itself.";

/// Puts by the lean client.
fn lean(subject: &Subject, load: Load) -> Result<Figures> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(message::scattered(n, KEYS), &value));
    let (_, before) = count(subject)?;
    let meter = Meter::start(subject.pid())?;
    let outcome = closed::drive(&subject.address(), load, Rpc::Put, put)?;
    let used = meter.used()?;
    let puts = outcome.latencies.count();
    let (_, after) = count(subject)?;
    ensure!((after - before).cast_unsigned() == puts, "{puts} puts made {before} {after}");
    let median = outcome.latencies.median();
    let p99 = outcome.latencies.micros(0.99);
    Ok(Figures::new(puts, outcome.per_second(), median, p99, &used))
}

/// Puts by etcd's load generator.
fn benchmark(bench: &Bench, name: Name, load: Load) -> Result<Figures> {
    let subject = bench.programs.start(name)?;
    let puts = go::Puts {
        connections: load.connections,
        clients: load.clients,
        total: load.requests_min,
        keys: KEYS,
        value_bytes: VALUE_BYTES,
    };
    let meter = Meter::start(subject.pid())?;
    let said = go::puts(&bench.programs.benchmark, &subject.server.url(), puts)?;
    let used = meter.used()?;
    Ok(Figures::new(load.requests_min, said.per_second, said.median, said.p99, &used))
}

fn section(title: &str, text: &str, rounds: &[Pair<Figures>], clients: Clients) -> Section {
    let compare = |what: &str, get: fn(&Figures) -> f64| Comparison::new(what, rounds, get);
    let mut comparisons = vec![
        compare("puts per second", |figures| figures.per_second),
        compare("p50, µs", |figures| figures.median),
        compare("p99, µs", |figures| figures.p99),
        compare("server CPU per put, µs", |figures| figures.server_cpu),
        compare("client CPU per put, µs", |figures| figures.client_cpu),
        compare("bytes written per put", |figures| figures.written_bytes),
        compare("CPUs that others used", |figures| figures.others_cpus).without_ratio(),
    ];
    let targets: &[(usize, Target)] = match clients {
        Clients::One => &[(1, Target::AtMost(0.6))],
        Clients::Many => &[(0, Target::AtLeast(1.8)), (3, Target::AtMost(0.4))],
    };
    for (at, target) in targets {
        comparisons[*at] = comparisons[*at].clone().target(*target);
    }
    Section { title: title.to_owned(), text: prose(text), tables: comparison::tables(&comparisons) }
}
