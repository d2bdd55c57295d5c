//! Open-loop puts at a steady rate: each is sent when it is due, even if earlier ones are
//! unanswered.
//!
//! So a stall shows in the latency of every put that is due while it lasts. A closed-loop client
//! would measure it once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::message::{self, Rpc};
use super::{Connection, Drivers};

/// How long the last answers may take after the stop.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// The rate and the data of the puts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) connections: usize,
    /// Time between two puts.
    pub(crate) period: Duration,
    pub(crate) value_bytes: usize,
    /// Keys are chosen at random: `first_key` plus a number below `keys`.
    pub(crate) keys: u64,
    pub(crate) first_key: u64,
}

/// One put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    /// When it should have been sent, with a resolution of 1 ms.
    pub(crate) due: Instant,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    /// Whether it succeeded.
    pub(crate) is_done: bool,
}

impl Put {
    pub(crate) fn latency(&self) -> Duration {
        self.ended - self.sent
    }
}

/// A thread that makes puts until it is stopped or dropped.
pub(crate) struct Steady {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Put>>>>,
}

impl Steady {
    /// Starts sending puts to the server at `address`.
    pub(crate) fn start(address: &str, rate: Rate) -> Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let address = address.to_owned();
        let stop = is_stopped.clone();
        let thread = thread::Builder::new().name("puts".to_owned());
        let thread = thread.spawn(move || super::run(puts(&address, rate, &stop)))?;
        Ok(Self { is_stopped, thread: Some(thread) })
    }

    /// Stops the puts, and returns all of them in no particular order.
    ///
    /// # Errors
    /// If the server could not be reached or the last answers did not arrive.
    pub(crate) fn stop(mut self) -> Result<Vec<Put>> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the puts are stopped already")?;
        thread.join().map_err(|_| anyhow!("the thread that makes the puts panicked"))?
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

async fn puts(address: &str, rate: Rate, is_stopped: &AtomicBool) -> Result<Vec<Put>> {
    let mut drivers = Drivers::new();
    let mut connections = Vec::new();
    for _ in 0..rate.connections {
        connections.push(Connection::open(address, &mut drivers).await?);
    }
    let value = message::value(rate.value_bytes);
    let mut ticks = tokio::time::interval(rate.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = JoinSet::new();
    let mut ended = Vec::new();
    for (number, connection) in (0..).zip(connections.iter().cycle()) {
        if is_stopped.load(Ordering::Relaxed) {
            break;
        }
        let due = ticks.tick().await.into_std();
        let key = rate.first_key + message::scattered(number, rate.keys);
        let message = message::framed(&message::put(key, &value));
        open.spawn(put(connection.clone(), message, due));
        while let Some(put) = open.try_join_next() {
            ended.push(put?);
        }
    }
    let last = tokio::time::timeout(ANSWERS_WITHIN, open.join_all()).await;
    ended.extend(last.context("the last puts were not answered in time")?);
    Ok(ended)
}

async fn put(connection: Connection, message: Bytes, due: Instant) -> Put {
    let sent = Instant::now();
    let answer = connection.call(Rpc::Put, message, drop).await;
    Put { due, sent, ended: Instant::now(), is_done: answer.is_ok() }
}
