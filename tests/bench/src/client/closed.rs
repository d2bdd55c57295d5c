//! Closed-loop clients: each waits for the answer to a request before it sends the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::message::Rpc;
use super::{Connection, Drivers};
use crate::stats::Latencies;

/// The number of clients and connections, and how long they send requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) clients: usize,
    /// Least number of requests, over all clients.
    pub(crate) requests_min: u64,
    /// Least time for which the clients keep sending.
    pub(crate) time_min: Duration,
}

impl Load {
    /// A load of exactly this many requests.
    pub(crate) fn of(connections: usize, clients: usize, requests: u64) -> Self {
        Self { connections, clients, requests_min: requests, time_min: Duration::ZERO }
    }
}

/// The results of a load.
pub(crate) struct Outcome {
    pub(crate) latencies: Latencies,
    /// Time from the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Bytes of all answers.
    pub(crate) received_bytes: u64,
}

impl Outcome {
    /// Requests answered per second.
    pub(crate) fn per_second(&self) -> f64 {
        let count: u32 = self.latencies.count().try_into().unwrap_or(u32::MAX);
        f64::from(count) / self.elapsed.as_secs_f64()
    }
}

struct Shared<F> {
    load: Load,
    rpc: Rpc,
    message: F,
    begun: Instant,
    next: AtomicU64,
    latencies: Mutex<Latencies>,
    received_bytes: AtomicU64,
}

/// Runs a load against `address`. If `address` lists several servers, separated by commas, the
/// connections go to them in turn. `message` makes each request's framed message from the request's
/// number.
///
/// # Errors
/// The first error of any client.
pub(crate) fn drive<F>(address: &str, load: Load, rpc: Rpc, message: F) -> Result<Outcome>
where
    F: Fn(u64) -> Bytes + Send + Sync + 'static,
{
    drive_as(None, address, load, rpc, message)
}

/// Like [`drive`], for a client with this token.
///
/// # Errors
/// The first error of any client.
pub(crate) fn drive_as<F>(
    token: Option<HeaderValue>,
    address: &str,
    load: Load,
    rpc: Rpc,
    message: F,
) -> Result<Outcome>
where
    F: Fn(u64) -> Bytes + Send + Sync + 'static,
{
    super::run(async {
        let mut drivers = Drivers::new();
        let mut connections = Vec::new();
        for address in address.split(',').cycle().take(load.connections) {
            let connection = Connection::open(address, &mut drivers).await?;
            connections.push(connection.with_token(token.clone()));
        }
        let shared = Arc::new(Shared {
            load,
            rpc,
            message,
            begun: Instant::now(),
            next: AtomicU64::new(0),
            latencies: Mutex::new(Latencies::new()),
            received_bytes: AtomicU64::new(0),
        });
        let mut clients = JoinSet::new();
        for connection in connections.iter().cycle().take(load.clients) {
            clients.spawn(client(connection.clone(), shared.clone()));
        }
        while let Some(ended) = clients.join_next().await {
            ended?.with_context(|| format!("{rpc:?}"))?;
        }
        Ok(Outcome {
            latencies: shared.latencies.lock().clone(),
            elapsed: shared.begun.elapsed(),
            received_bytes: shared.received_bytes.load(Ordering::Relaxed),
        })
    })
}

async fn client<F>(connection: Connection, shared: Arc<Shared<F>>) -> Result<()>
where
    F: Fn(u64) -> Bytes + Send + Sync + 'static,
{
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let load = &shared.load;
        if number >= load.requests_min && begun - shared.begun >= load.time_min {
            return Ok(());
        }
        let mut received_bytes = 0;
        let piece = |data: Bytes| received_bytes += data.len() as u64;
        connection.call(shared.rpc, (shared.message)(number), piece).await?;
        shared.latencies.lock().record(begun.elapsed());
        shared.received_bytes.fetch_add(received_bytes, Ordering::Relaxed);
    }
}
