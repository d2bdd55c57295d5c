//! Pages, counts and full lists among a million keys.

use std::time::Duration;

use anyhow::{Result, ensure};
use quorate_proto::etcdserverpb::{RangeRequest, RangeResponse};

use super::{Bench, VALUE_BYTES, await_idle, count, fill, prose};
use crate::client;
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::comparison::{self, Comparison, Target};
use crate::meter::Meter;
use crate::report::Section;
use crate::subject::{Pair, Subject};

const ROUNDS: u32 = 5;
const KEYS: u64 = 1_000_000;
const PAGE_KEYS: i64 = 500;
/// Each kind of request is repeated at least this many times and for at least this long.
const REQUESTS_MIN: u64 = 10;
const TIME_MIN: Duration = Duration::from_secs(2);

/// Figures of one kind of request: median and server CPU per request, both in microseconds.
#[derive(Clone, Copy, Debug)]
struct Measured {
    median: f64,
    server_cpu: f64,
}

/// The figures of one server in one round.
#[derive(Clone, Copy, Debug)]
struct Figures {
    first_page: Measured,
    any_page: Measured,
    count: Measured,
    get: Measured,
    list: Measured,
}

/// The section of this case.
pub(super) fn run(bench: &Bench) -> Result<Section> {
    let keys = bench.size(KEYS);
    let subjects = Pair::of(|name| {
        eprintln!("range: filling {}", name.shown());
        let subject = bench.programs.start(name)?;
        fill(&subject, keys)?;
        await_idle(&subject)?;
        let (found, _) = count(&subject)?;
        ensure!(found.cast_unsigned() == keys, "{found} keys, not {keys}");
        let page: RangeResponse =
            client::ask(&subject.address(), Rpc::Range, &message::page(0, PAGE_KEYS))?;
        ensure!(page.kvs.len() == 500 && page.more, "a page of {} keys", page.kvs.len());
        Ok(subject)
    })?;
    let rounds = bench.alternate("range", ROUNDS, |name| measure(subjects.get(name), keys))?;
    Ok(section(&rounds, keys))
}

fn measure(subject: &Subject, keys: u64) -> Result<Figures> {
    let often = Load { connections: 1, clients: 1, requests_min: REQUESTS_MIN, time_min: TIME_MIN };
    let once = Load::of(1, 1, 1);
    let pages = keys - PAGE_KEYS.cast_unsigned();
    let page_bytes = PAGE_KEYS.cast_unsigned() * VALUE_BYTES as u64;
    let any_page = move |n| message::page(message::scattered(n, pages), PAGE_KEYS);
    let get = move |n| message::get(message::scattered(n, keys));
    Ok(Figures {
        first_page: asked(subject, often, page_bytes, |_| message::page(0, PAGE_KEYS))?,
        any_page: asked(subject, often, page_bytes, any_page)?,
        count: asked(subject, often, 1, |_| message::count())?,
        get: asked(subject, often, VALUE_BYTES as u64, get)?,
        list: asked(subject, once, keys * VALUE_BYTES as u64, |_| message::list())?,
    })
}

/// Makes the requests, and checks that the answers have at least `bytes_min` bytes on average.
fn asked<F>(subject: &Subject, load: Load, bytes_min: u64, request: F) -> Result<Measured>
where
    F: Fn(u64) -> RangeRequest + Send + Sync + 'static,
{
    let meter = Meter::start(subject.pid())?;
    let message = move |n| message::framed(&request(n));
    let outcome = closed::drive(&subject.address(), load, Rpc::Range, message)?;
    let cpu = meter.used()?.server.cpu.as_secs_f64() * 1e6;
    let received = outcome.received_bytes;
    let count = outcome.latencies.count();
    ensure!(received >= count * bytes_min, "{count} answers have {received} bytes");
    let requests = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    Ok(Measured { median: outcome.latencies.median(), server_cpu: cpu / requests })
}

fn section(rounds: &[Pair<Figures>], keys: u64) -> Section {
    let compare = |what: &str, get: fn(&Figures) -> f64| Comparison::new(what, rounds, get);
    let comparisons = [
        compare("first page, µs", |all| all.first_page.median).target(Target::Faster(50.0)),
        compare("any page, µs", |all| all.any_page.median),
        compare("count of all keys, µs", |all| all.count.median).target(Target::Faster(100.0)),
        compare("one key, µs", |all| all.get.median),
        compare("all keys in one answer, µs", |all| all.list.median),
        compare("server CPU of a first page, µs", |all| all.first_page.server_cpu),
        compare("server CPU of a count, µs", |all| all.count.server_cpu),
        compare("server CPU of one key, µs", |all| all.get.server_cpu),
        compare("server CPU of all keys, µs", |all| all.list.server_cpu),
    ];
    let text = format!(
        "{keys} keys of 8 B with values of {VALUE_BYTES} B. One client, one linearizable request \
         at a time, half of which were answered in the time shown. A page has {PAGE_KEYS} keys; \
         the first begins at the lowest key, any at a key without order, and both end nowhere. \
         What the client does not need of an answer it does not decode."
    );
    Section {
        title: format!("Ranges among {keys} keys"),
        text: prose(&text),
        tables: comparison::tables(&comparisons),
    }
}
