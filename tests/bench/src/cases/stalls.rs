//! The slowest puts while the server does heavy work.

mod phase;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use quorate_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DefragmentRequest, DefragmentResponse,
};

use super::{Bench, VALUE_BYTES, await_idle, count, fill, prose};
use crate::client;
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::client::steady::{Rate, Steady};
use crate::comparison::{self, Comparison, Target};
use crate::metrics;
use crate::probe::Probe;
use crate::report::{Section, Table, figure};
use crate::subject::{Name, Pair, Subject};
use phase::{Beside, Found, Window};

const ROUNDS: u32 = 3;
const KEYS: u64 = 1_000_000;
/// Limit for the slowest put, as a multiple of the median put.
const RATIO_MAX: f64 = 10.0;
/// The puts that are measured.
const WATCHED: Rate = Rate {
    connections: 10,
    period: Duration::from_millis(1),
    value_bytes: VALUE_BYTES,
    keys: KEYS / 20,
    first_key: 0,
};
/// Puts that cause flushes by filling the server's in-memory data: 8 MiB per second.
const BULK: Rate = Rate {
    connections: 2,
    period: Duration::from_millis(8),
    value_bytes: 64 << 10,
    keys: 1000,
    first_key: 10 * KEYS,
};
const BULK_TIME: Duration = Duration::from_secs(20);
const QUIET_TIME: Duration = Duration::from_secs(10);
/// Lists are read one after the other for at least this long.
const LIST_TIME: Duration = Duration::from_secs(3);
/// Pause before each piece of work.
const PAUSE: Duration = Duration::from_secs(2);
/// Counts commits of the database.
const FLUSHES: &str = "etcd_disk_backend_commit_duration_seconds_count";

const TEXT: &str = "A thousand puts of 256 B a second over ten connections, each sent when it is \
    due whether or not those before were answered, while the server does one piece of work after \
    another: nothing; a compaction of all history, half a million versions, until it is done \
    physically; flushes to the database, driven by 125 more puts of 64 KiB a second for 20 s; a \
    defragmentation; lists of all keys in one answer. Slowest puts are given in usual medians: \
    the median of the same round while the server does nothing else. Beside it a probe writes \
    512 B with fdatasync to the same file system every 2 ms, and notes how late its thread is \
    woken. A put of more than ten usual medians is put down to the disk when, while it waited, a \
    write of the probe took at least half as long; else to the processors when the probe's \
    thread or the client's was woken late by at least half as long. The processors are shared by \
    the server, the client that puts, the client that reads lists, and the probe. A flush of \
    etcd is a commit of its database.";

/// The section of this case.
pub(super) fn run(bench: &Bench) -> Result<Section> {
    let rounds = bench.alternate("stalls", ROUNDS, |name| measure(bench, name))?;
    let mut tables = comparison::tables(&comparisons(&rounds));
    tables.extend(details(&rounds));
    let title = format!("Slowest writes among {} keys", bench.size(KEYS));
    Ok(Section { title, text: prose(TEXT), tables })
}

/// The figures of one server in one round.
#[derive(Clone, Debug)]
struct Round {
    /// Median put in microseconds while the server does nothing else.
    usual: f64,
    /// One for each piece of work.
    found: Vec<Found>,
}

fn measure(bench: &Bench, name: Name) -> Result<Round> {
    let keys = bench.size(KEYS);
    let subject = bench.programs.start(name)?;
    fill(&subject, keys)?;
    // Overwrites half of the keys, so that there are old versions to compact.
    fill(&subject, keys / 2)?;
    await_idle(&subject)?;
    let probe = Probe::start(bench.programs.folder.path())?;
    let steady = Steady::start(&subject.address(), WATCHED)?;
    let windows = work(&subject);
    let puts = steady.stop()?;
    let samples = probe.stop()?;
    let windows = windows?;
    let beside = Beside::new(&samples, &puts);
    let usual = windows.first().context("nothing was done")?.median(&puts);
    let found = windows.iter().map(|window| window.found(&puts, &beside, RATIO_MAX * usual));
    Ok(Round { usual, found: found.collect() })
}

/// Has the server do each piece of work, and returns the windows in which it did them.
fn work(subject: &Subject) -> Result<Vec<Window>> {
    let address = subject.address();
    let run = |what: &'static str, work: &dyn Fn() -> Result<()>| {
        std::thread::sleep(PAUSE);
        let flushes = metrics::read(&address, FLUSHES)?;
        let begun = Instant::now();
        work().context(what)?;
        let ended = Instant::now();
        let flushes = metrics::read(&address, FLUSHES)? - flushes;
        Ok(Window { what, begun, ended, flushes })
    };
    let quiet = || {
        std::thread::sleep(QUIET_TIME);
        Ok(())
    };
    let flush = || {
        let bulk = Steady::start(&address, BULK)?;
        std::thread::sleep(BULK_TIME);
        bulk.stop().map(drop)
    };
    let list = || {
        let load = Load { connections: 1, clients: 1, requests_min: 1, time_min: LIST_TIME };
        let list = |_| message::framed(&message::list());
        closed::drive(&address, load, Rpc::Range, list).map(drop)
    };
    let windows = [
        run("nothing else", &quiet),
        run("compaction", &|| compact(subject)),
        run("flushes", &flush),
        run("defragmentation", &|| defragment(subject)),
        run("lists of all keys", &list),
    ];
    windows.into_iter().collect()
}

fn compact(subject: &Subject) -> Result<()> {
    let (_, revision) = count(subject)?;
    let request = CompactionRequest { revision, physical: true };
    let _: CompactionResponse = client::ask(&subject.address(), Rpc::Compact, &request)?;
    Ok(())
}

fn defragment(subject: &Subject) -> Result<()> {
    let request = DefragmentRequest {};
    let _: DefragmentResponse = client::ask(&subject.address(), Rpc::Defragment, &request)?;
    Ok(())
}

fn comparisons(rounds: &[Pair<Round>]) -> Vec<Comparison> {
    let phases = rounds.first().map_or(0, |round| round.quorate.found.len());
    let of_phase = |at: usize| {
        let what = rounds[0].quorate.found[at].what;
        let compare = |name: &str, get: fn(&Found, f64) -> f64| {
            let name = format!("{what}: {name}");
            Comparison::new(&name, rounds, |round| get(&round.found[at], round.usual))
        };
        [
            compare("median, µs", |found, _| found.median),
            compare("slowest, µs", |found, _| found.worst),
            compare("slowest, in usual medians", |found, usual| found.worst / usual),
            compare("the same, disk aside", |found, usual| found.worst_disk_aside / usual)
                .target(Target::Below(RATIO_MAX)),
            compare("disk and processors aside", |found, usual| found.worst_all_aside / usual),
        ]
    };
    (0..phases).flat_map(of_phase).collect()
}

/// A table of all figures of each round; `None` if there are none.
fn details(rounds: &[Pair<Round>]) -> Option<Table> {
    let head = [
        "round",
        "",
        "beside",
        "seconds",
        "puts",
        "refused",
        "median, µs",
        "p99.9, µs",
        "slowest, µs",
        "more than 10 usual medians",
        "the disk's",
        "the processors'",
        "slowest of the rest, µs",
        "probe: median, µs",
        "probe: slowest, µs",
        "woken late, µs",
        "flushes",
    ];
    let mut table = Table::new(&head);
    for (number, round) in (1..).zip(rounds) {
        for name in [Name::Quorate, Name::Etcd] {
            table.rows.extend(round.get(name).found.iter().map(|found| row(number, name, found)));
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

fn row(round: u32, name: Name, found: &Found) -> Vec<String> {
    let mut cells = vec![round.to_string(), name.shown().to_owned(), found.what.to_owned()];
    cells.push(figure(found.seconds));
    cells.extend([found.puts, found.refused].map(|count| count.to_string()));
    cells.extend([found.median, found.p999, found.worst].map(figure));
    cells
        .extend([found.slow, found.slow_by_disk, found.slow_by_cpu].map(|count| count.to_string()));
    let rest = [found.worst_all_aside, found.probe_median, found.probe_worst, found.late_worst];
    cells.extend(rest.map(figure));
    cells.push(figure(found.flushes));
    cells
}
