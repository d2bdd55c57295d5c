//! The cases of the comparison.

mod attacks;
mod cluster;
mod life;
mod memory;
mod put;
mod range;
mod restart;
mod stalls;
mod users;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use quorate_proto::etcdserverpb::RangeResponse;

use crate::client;
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::process::Usage;
use crate::report::Section;
use crate::subject::{Name, Pair, Programs, Subject};

/// Size of the values, unless a case sets another.
const VALUE_BYTES: usize = 256;
/// Connections and concurrent transactions of the load that fills a server.
const FILL_CONNECTIONS: usize = 4;
const FILL_CLIENTS: usize = 32;
/// A server has settled when it used less than this share of a CPU in each of the last seconds.
const IDLE_SHARE: f64 = 0.03;
const IDLE_SECONDS: u32 = 3;
/// How long to wait for a server to settle before it is measured anyway.
const IDLE_WITHIN: Duration = Duration::from_secs(60);

/// A case of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Writes by one client and by a thousand.
    Put,
    /// Pages, counts and lists of many keys.
    Range,
    /// Memory with many keys.
    Memory,
    /// Time from a start with many keys to the first answer.
    Restart,
    /// The slowest writes beside heavy work.
    Stalls,
    /// Writes and reads on three members.
    Cluster,
    /// Memory, and the writes of others, while a client attacks.
    Attacks,
    /// Writes without and with authentication.
    Users,
}

/// Settings that all cases share.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) rounds: Option<u32>,
    pub(crate) is_quick: bool,
}

impl Bench {
    /// The number of rounds: the requested one, or `usual`.
    fn rounds(&self, usual: u32) -> u32 {
        self.rounds.unwrap_or(if self.is_quick { 2 } else { usual })
    }

    /// A number of keys or requests: `usual`, or a twentieth of it in a quick run.
    fn size(&self, usual: u64) -> u64 {
        if self.is_quick { usual / 20 } else { usual }
    }

    /// Measures both servers in turn, in each round.
    fn alternate<T>(
        &self,
        what: &str,
        usual_rounds: u32,
        mut measure: impl FnMut(Name) -> Result<T>,
    ) -> Result<Vec<Pair<T>>> {
        let rounds = self.rounds(usual_rounds);
        let round = |round| {
            Pair::of(|name| {
                eprintln!("{what}: round {round} of {rounds}, {}", name.shown());
                measure(name)
            })
        };
        (1..=rounds).map(round).collect()
    }
}

/// Runs the cases in `only`, or all if it is empty, and passes the sections of each to `write`.
///
/// # Errors
/// The first error of a case or of `write`.
pub(crate) fn run(
    bench: &Bench,
    only: &[Case],
    mut write: impl FnMut(Vec<Section>) -> Result<()>,
) -> Result<()> {
    let is_asked = |case: Case| only.is_empty() || only.contains(&case);
    if is_asked(Case::Put) {
        write(put::run(bench).context("put")?)?;
    }
    if is_asked(Case::Range) {
        write(vec![range::run(bench).context("range")?])?;
    }
    if is_asked(Case::Memory) || is_asked(Case::Restart) {
        let lives = life::run(bench).context("memory and restart")?;
        let memory = is_asked(Case::Memory).then(|| memory::section(&lives));
        let restart = is_asked(Case::Restart).then(|| restart::section(&lives));
        write(memory.into_iter().chain(restart).collect())?;
    }
    if is_asked(Case::Stalls) {
        write(vec![stalls::run(bench).context("stalls")?])?;
    }
    if is_asked(Case::Cluster) {
        write(cluster::run(bench).context("three members")?)?;
    }
    if is_asked(Case::Attacks) {
        write(vec![attacks::run(bench).context("attacks")?])?;
    }
    if is_asked(Case::Users) {
        write(users::run(bench).context("users")?)?;
    }
    Ok(())
}

/// Puts all keys below `keys`, many per transaction.
fn fill(subject: &Subject, keys: u64) -> Result<()> {
    let value = message::value(VALUE_BYTES);
    let load = Load::of(FILL_CONNECTIONS, FILL_CLIENTS, message::txns(keys));
    let txn = move |n| message::framed(&message::puts(n, keys, &value));
    closed::drive(&subject.address(), load, Rpc::Txn, txn)?;
    Ok(())
}

/// The server's number of keys, and its revision.
fn count(subject: &Subject) -> Result<(i64, i64)> {
    let answer: RangeResponse = client::ask(&subject.address(), Rpc::Range, &message::count())?;
    let header = answer.header.context("an answer without a header")?;
    Ok((answer.count, header.revision))
}

/// Waits until the server is idle.
fn await_idle(subject: &Subject) -> Result<()> {
    let deadline = Instant::now() + IDLE_WITHIN;
    let mut quiet_seconds = 0;
    let mut before = Usage::of(subject.pid())?;
    while quiet_seconds < IDLE_SECONDS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        let now = Usage::of(subject.pid())?;
        let is_quiet = now.since(&before).cpu.as_secs_f64() < IDLE_SHARE;
        quiet_seconds = if is_quiet { quiet_seconds + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// A section's text, with the source's line breaks removed.
fn prose(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
