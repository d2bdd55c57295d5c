//! A server's life with many keys: load, orderly restart, crash, restart.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use quorate_proto::etcdserverpb::RangeResponse;

use super::{Bench, VALUE_BYTES, await_idle, count};
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::client::{self, Connection, Drivers};
use crate::process::Memory;
use crate::subject::{Name, Pair, Subject};

const ROUNDS: u32 = 3;
const KEYS: u64 = 1_000_000;
const MANY_KEYS: u64 = 3_000_000;
/// The load is one put per key, by this many clients. Transactions of many puts would be faster,
/// but etcd would then use half as much memory again.
const CONNECTIONS: usize = 100;
const CLIENTS: usize = 1000;
/// Puts before the kill, so that the restart has log entries to recover.
pub(super) const PUTS_BEFORE_KILL: u64 = 30_000;
/// How long a started server may take until its first answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// How long one attempt to read may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(1);

/// The figures of one server's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) load_seconds: f64,
    pub(super) loaded: Memory,
    pub(super) disk_bytes: u64,
    /// From the start of the process to the first linearizable read, after an orderly end and after
    /// a kill.
    pub(super) stopped_to_read: Duration,
    pub(super) killed_to_read: Duration,
    pub(super) restarted: Memory,
}

/// The lives of both servers with `keys` keys, and one of Quorate with three times as many.
pub(super) struct Lives {
    pub(super) keys: u64,
    pub(super) many_keys: u64,
    pub(super) rounds: Vec<Pair<Life>>,
    pub(super) many: Life,
}

pub(super) fn run(bench: &Bench) -> Result<Lives> {
    let keys = bench.size(KEYS);
    let many_keys = bench.size(MANY_KEYS);
    let rounds = bench.alternate("memory and restart", ROUNDS, |name| live(bench, name, keys))?;
    eprintln!("memory and restart: Quorate with {many_keys} keys");
    let many = live(bench, Name::Quorate, many_keys)?;
    Ok(Lives { keys, many_keys, rounds, many })
}

fn live(bench: &Bench, name: Name, keys: u64) -> Result<Life> {
    let mut subject = bench.programs.start(name)?;
    let begun = Instant::now();
    put(&subject, keys)?;
    let load_seconds = begun.elapsed().as_secs_f64();
    await_idle(&subject)?;
    let loaded = Memory::of(subject.pid())?;
    let disk_bytes = subject.disk_bytes()?;

    // Both servers end by raising the signal again, so the status is meaningless.
    let _status = subject.server.stop();
    let stopped_to_read = start(&mut subject)?;
    await_idle(&subject)?;
    let restarted = Memory::of(subject.pid())?;

    put(&subject, keys.min(PUTS_BEFORE_KILL))?;
    subject.server.kill();
    let killed_to_read = start(&mut subject)?;
    let (found, _) = count(&subject)?;
    ensure!(found.cast_unsigned() == keys, "{found} keys after a kill, not {keys}");
    Ok(Life { load_seconds, loaded, disk_bytes, stopped_to_read, killed_to_read, restarted })
}

/// Puts all keys below `keys`, one per request.
fn put(subject: &Subject, keys: u64) -> Result<()> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(n, &value));
    let load = Load::of(CONNECTIONS, CLIENTS, keys);
    closed::drive(&subject.address(), load, Rpc::Put, put)?;
    Ok(())
}

/// Starts the server, and returns the time until its first answer to a linearizable read.
fn start(subject: &mut Subject) -> Result<Duration> {
    let begun = Instant::now();
    subject.server.spawn();
    let address = subject.address();
    client::run(async {
        loop {
            let answer = tokio::time::timeout(ATTEMPT, read(&address)).await;
            match answer.context("no answer").flatten() {
                Ok(kept) => {
                    ensure!(kept == 1, "the key is not there");
                    return Ok(begun.elapsed());
                }
                Err(error) if begun.elapsed() > ANSWER_WITHIN => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    })
}

async fn read(address: &str) -> Result<usize> {
    let mut drivers = Drivers::new();
    let connection = Connection::open(address, &mut drivers).await?;
    let answer: RangeResponse = connection.unary(Rpc::Range, &message::get(0)).await?;
    Ok(answer.kvs.len())
}
