//! The cost of attacking clients: the server's memory, and the latency of another client.

mod clients;
mod healthy;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use quorate_test_support::healthy_client::{HealthyClient, Puts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::memory::mebibytes;
use super::{Bench, prose};
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::comparison::{self, Comparison, Target, Words};
use crate::process::{self, Memory};
use crate::report::{Section, Table, figure};
use crate::stats::Latencies;
use crate::subject::{Name, Pair, Subject};
use clients::{Attack, Running};

const ROUNDS: u32 = 1;
/// The budget that Quorate chooses by itself with 2 GiB of memory.
const BUDGET: &str = "--memory-budget=178956970";
/// Limit for Quorate's resident memory.
const RESIDENT_MIB_MAX: f64 = 512.0;
/// Limit for the other client's p99 during the attack, as a multiple of its p99 alone.
const SLOWER_MAX: f64 = 5.0;
/// How long the other client runs alone, and how long an attack lasts.
const ALONE: Duration = Duration::from_secs(3);
const ATTACKED: Duration = Duration::from_secs(8);
/// Both durations in a quick run, whose figures do not matter.
const QUICK: Duration = Duration::from_secs(1);
/// A server with more resident memory than this has failed, and is killed to protect the machine.
const RESIDENT_MAX: u64 = 6 << 30;
/// How often a server's memory is read.
const PAUSE: Duration = Duration::from_millis(10);
/// Words for peaks: infinity stands for a server that ended.
const PEAKS: Words = &[(f64::INFINITY, "it ended"), (6144.0, "over 6 GiB")];
const UNANSWERED: Words = &[(f64::INFINITY, "no answer")];

const TEXT: &str = "\
    Each attack is made on a new server that holds 60 MB: 6000 keys with values of 10 kB, or 60 \
    with values of 1 MB where that is said. Quorate has `--memory-budget=178956970`, what it \
    takes by itself with a limit of 2 GiB; etcd has nothing of the kind. A healthy client puts a \
    value of 16 B, one after the other, on a connection of its own, alone for 3 s and under the \
    attack for 8 s. The peak is the most that was resident during the attack; a server that has \
    more than 6 GiB resident is killed, and the attack ends there. The last put counts with the \
    time that it had waited by then. The clients share the processors with the server. Requests \
    sent are those that the client has handed to its connection; refused are requests with an \
    answer before their end, and connections that the server did not take or has closed, as far \
    as their client reads.";

/// The data of a server: `keys` keys with values of `value_bytes`.
#[derive(Clone, Copy, Debug)]
struct Data {
    keys: u64,
    value_bytes: usize,
}

const SMALL: Data = Data { keys: 6000, value_bytes: 10_000 };
const LARGE: Data = Data { keys: 60, value_bytes: 1_000_000 };

/// Each attack's name, data and clients.
const ATTACKS: [(&str, Data, Attack); 8] = [
    (
        "50 clients that give up sorted lists of 30 MB after 200 ms",
        SMALL,
        Attack::GivenUp { connections: 50 },
    ),
    ("100 answers of 60 MB not read, one connection", SMALL, Attack::Answers { lists: 100 }),
    (
        "900 streams that watch from an old revision, not read, 50 connections",
        SMALL,
        Attack::Watches { connections: 50, streams: 18, watchers: 1 },
    ),
    (
        "300 such watchers on one stream",
        SMALL,
        Attack::Watches { connections: 1, streams: 1, watchers: 300 },
    ),
    (
        "4 streams that watch over values of 1 MB, not read",
        LARGE,
        Attack::Watches { connections: 4, streams: 1, watchers: 1 },
    ),
    (
        "1000 bodies of 1.4 MB without their end, 1000 connections",
        SMALL,
        Attack::Bodies { connections: 1000, requests: 1 },
    ),
    ("1000 such bodies, 50 connections", SMALL, Attack::Bodies { connections: 50, requests: 20 }),
    (
        "20,000 requests with headers of 60 kB, 20 connections",
        SMALL,
        Attack::Headers { connections: 20, requests: 1000 },
    ),
];

/// The effects of one attack on one server.
#[derive(Clone, Debug)]
struct Found {
    before_mib: f64,
    peak_mib: f64,
    alone: Timed,
    attacked: Timed,
    sent: u64,
    refused: u64,
}

/// The healthy client's puts. Times are in microseconds, and infinite without any successful put.
#[derive(Clone, Debug)]
struct Timed {
    median: f64,
    p99: f64,
    done: usize,
    failed: usize,
}

impl Timed {
    fn of(puts: &Puts) -> Self {
        let latencies = Latencies::of(puts.took.iter().copied());
        let micros = |share| {
            if puts.took.is_empty() { f64::INFINITY } else { latencies.micros(share) }
        };
        let done = puts.took.len();
        let failed = puts.failed;
        Self { median: micros(0.5), p99: micros(0.99), done, failed }
    }
}

/// The section of this case.
pub(super) fn run(bench: &Bench) -> Result<Section> {
    raise_descriptors()?;
    let mut rows = Vec::new();
    let mut details = table_of_details();
    for (what, data, attack) in ATTACKS {
        let rounds = bench.alternate(what, ROUNDS, |name| measure(bench, name, attack, data))?;
        rows.extend(comparisons(what, &rounds));
        for (number, round) in (1_u32..).zip(&rounds) {
            for name in [Name::Quorate, Name::Etcd] {
                details.rows.push(row(what, number, name, round.get(name)));
            }
        }
    }
    let mut tables = comparison::tables(&rows);
    tables.push(details);
    Ok(Section { title: "Attacks".to_owned(), text: prose(TEXT), tables })
}

/// The attack opens a thousand connections; the server inherits the limit and needs as many.
fn raise_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn measure(bench: &Bench, name: Name, attack: Attack, data: Data) -> Result<Found> {
    let flags: &[&str] = match name {
        Name::Quorate => &[BUDGET],
        Name::Etcd => &[],
    };
    let mut subject = bench.programs.start_with(name, flags)?;
    let value = message::value(data.value_bytes);
    let load = Load::of(4, 8, data.keys);
    let put = move |number| message::framed(&message::put(number, &value));
    closed::drive(&subject.address(), load, Rpc::Put, put).context("the data")?;

    let (alone, attacked) = if bench.is_quick { (QUICK, QUICK) } else { (ALONE, ATTACKED) };
    let mut client = healthy::Client::open(&subject.address())?;
    let healthy = HealthyClient::start(alone, move || client.put());
    process::forget_peak(subject.pid())?;
    let before = Memory::of(subject.pid())?;
    let running = Running::start(&subject.address(), attack, data)?;
    let peak_mib = watch(&mut subject, attacked);
    let progress = &running.progress;
    let [sent, refused] =
        [&progress.sent, &progress.refused].map(|count| count.load(Ordering::Relaxed));
    // Unblocks clients that wait for the server, and frees its memory for the next measurement.
    healthy.end();
    subject.server.kill();
    running.stop()?;
    let [alone, attacked] = healthy.finish().each_ref().map(Timed::of);
    Ok(Found { before_mib: mebibytes(before.total), peak_mib, alone, attacked, sent, refused })
}

/// The server's peak in MiB after `time`, or earlier if it uses too much. Infinity if it ended.
fn watch(subject: &mut Subject, time: Duration) -> f64 {
    let deadline = Instant::now() + time;
    loop {
        std::thread::sleep(PAUSE);
        let memory = Memory::of(subject.pid());
        let Ok(memory) = memory else { return f64::INFINITY };
        if subject.server.exit_status().is_some() {
            return f64::INFINITY;
        }
        if memory.total > RESIDENT_MAX || Instant::now() >= deadline {
            return mebibytes(memory.peak);
        }
    }
}

fn comparisons(what: &str, rounds: &[Pair<Found>]) -> Vec<Comparison> {
    let compare = |name: &str, get: fn(&Found) -> f64| {
        Comparison::new(&format!("{what}: {name}"), rounds, get).without_ratio()
    };
    vec![
        compare("peak resident, MiB", |found| found.peak_mib)
            .words(PEAKS)
            .target(Target::Below(RESIDENT_MIB_MAX)),
        compare("p50 of puts alone, µs", |found| found.alone.median).words(UNANSWERED),
        compare("p99 alone, µs", |found| found.alone.p99).words(UNANSWERED),
        compare("p50 under attack, µs", |found| found.attacked.median).words(UNANSWERED),
        compare("p99 under attack, µs", |found| found.attacked.p99).words(UNANSWERED),
        compare("p99 under attack, in p99 alone", |found| found.attacked.p99 / found.alone.p99)
            .words(UNANSWERED)
            .target(Target::Below(SLOWER_MAX)),
        compare("puts failed under attack", |found| count(found.attacked.failed)),
    ]
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn table_of_details() -> Table {
    Table::new(&[
        "attack",
        "round",
        "",
        "resident before, MiB",
        "requests sent",
        "refused",
        "puts alone",
        "failed",
        "puts under attack",
        "failed",
    ])
}

fn row(what: &str, round: u32, name: Name, found: &Found) -> Vec<String> {
    let mut cells = vec![what.to_owned(), round.to_string(), name.shown().to_owned()];
    cells.push(figure(found.before_mib));
    cells.extend([found.sent, found.refused].map(|count| count.to_string()));
    for puts in [&found.alone, &found.attacked] {
        cells.extend([puts.done, puts.failed].map(|count| count.to_string()));
    }
    cells
}
