//! Concurrent clients, which work until they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_test_support::wait;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::traffic::{Profile, Traffic};
use crate::history::{Operation, Request, Response};

/// How long the first responses may take, on a busy machine.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(60);

/// A client of a cluster, with one request in flight at a time.
pub trait Requester: Send + 'static {
    /// Sends the request that `make` makes for a new operation id.
    fn ask(
        &mut self,
        make: impl FnOnce(u64) -> Request + Send,
    ) -> impl Future<Output = Operation> + Send;
}

/// A group of concurrent clients.
#[derive(Debug, Default)]
pub struct Load {
    clients: JoinSet<Done>,
    stop: CancellationToken,
    /// The shortest time between two requests of one client, if there is such a limit.
    interval: Option<Duration>,
    progress: Arc<Progress>,
}

/// Counts of the answered requests so far.
#[derive(Debug, Default)]
struct Progress {
    writes: AtomicUsize,
    reads: AtomicUsize,
}

impl Progress {
    fn note(&self, operation: &Operation) {
        let Some(response) = operation.response() else { return };
        if response.says_written() {
            self.writes.fetch_add(1, Ordering::SeqCst);
        } else if matches!(response, Response::Range(_)) {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The results of a client.
#[derive(Debug)]
struct Done {
    operations: Vec<Operation>,
    /// The traffic, with the position of the client in the load; `None` if the client sent a single
    /// request.
    traffic: Option<(usize, Traffic)>,
}

impl Load {
    /// A load without clients. Each client sends at most one request per `interval`.
    pub fn with_interval(interval: Duration) -> Self {
        Self { interval: Some(interval), ..Self::default() }
    }

    /// The number of acknowledged writes so far.
    pub fn written(&self) -> usize {
        self.progress.writes.load(Ordering::SeqCst)
    }

    /// Waits until `writes` writes and `reads` ranges have been answered.
    ///
    /// # Panics
    /// When the wait takes too long.
    pub fn await_traffic(&self, writes: usize, reads: usize) {
        wait::until("traffic before the fault", TRAFFIC_WITHIN, || {
            let read = self.progress.reads.load(Ordering::SeqCst);
            (self.written() >= writes && read >= reads).then_some(())
        });
    }

    /// Starts a client.
    pub fn add(
        &mut self,
        runtime: &Handle,
        mut client: impl Requester,
        mut traffic: Traffic,
        profile: Profile,
    ) {
        let stop = self.stop.clone();
        let position = self.clients.len();
        let progress = self.progress.clone();
        let interval = self.interval;
        let work = async move {
            let mut ticks = interval.map(|interval| {
                let mut ticks = tokio::time::interval(interval);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks
            });
            let mut operations = Vec::new();
            while !stop.is_cancelled() && operations.len() < profile.operations_max {
                if let Some(ticks) = &mut ticks {
                    ticks.tick().await;
                }
                let operation = client.ask(|id| traffic.next(id, &profile)).await;
                traffic.learn(&operation);
                progress.note(&operation);
                operations.push(operation);
            }
            Done { operations, traffic: Some((position, traffic)) }
        };
        self.clients.spawn_on(work, runtime);
    }

    /// Starts a client that sends a single request.
    pub fn ask(&mut self, runtime: &Handle, mut client: Client, request: Request) {
        let work =
            async move { Done { operations: vec![client.ask(request).await], traffic: None } };
        self.clients.spawn_on(work, runtime);
    }

    /// Stops the clients after their current requests. Returns the operations of the clients, and
    /// the traffic of the clients in the order in which the clients were added.
    pub async fn finish(self) -> (Vec<Operation>, Vec<Traffic>) {
        self.stop.cancel();
        self.run().await
    }

    /// Waits until every client has sent all requests of its profile. Returns the same as
    /// [`finish`](Self::finish).
    pub async fn run(mut self) -> (Vec<Operation>, Vec<Traffic>) {
        let mut operations = Vec::new();
        let mut traffics = Vec::new();
        while let Some(done) = self.clients.join_next().await {
            let done = done.expect("a client does not panic");
            operations.extend(done.operations);
            traffics.extend(done.traffic);
        }
        traffics.sort_by_key(|(position, _)| *position);
        (operations, traffics.into_iter().map(|(_, traffic)| traffic).collect())
    }
}
