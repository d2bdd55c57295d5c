//! Concurrent clients, which work until they are stopped or get no answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_test_support::wait;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::roamer::Roamer;
use super::traffic::{Profile, Traffic};
use crate::history::{Clock, Operation, Request, Response};

/// How long the first responses may take, on a busy machine.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(60);

/// A group of concurrent clients.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Done>,
    stop: CancellationToken,
    clock: Clock,
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
    /// The traffic, with the place of the client.
    traffic: Option<(usize, Traffic)>,
}

impl Load {
    /// A load without clients.
    pub fn new(clock: &Clock) -> Self {
        let (clients, stop) = (JoinSet::new(), CancellationToken::new());
        Self { clients, stop, clock: clock.clone(), progress: Arc::default() }
    }

    /// Waits until `writes` writes were acknowledged and `reads` ranges answered.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn await_traffic(&self, writes: usize, reads: usize) {
        let Progress { writes: written, reads: read } = &*self.progress;
        wait::until("traffic before the fault", TRAFFIC_WITHIN, || {
            let enough =
                written.load(Ordering::SeqCst) >= writes && read.load(Ordering::SeqCst) >= reads;
            enough.then_some(())
        });
    }

    /// Starts a client, which stops when it gets no answer.
    pub fn add(
        &mut self,
        runtime: &Handle,
        mut client: Client,
        traffic: Traffic,
        profile: Profile,
    ) {
        let (stop, clock, place) = (self.stop.clone(), self.clock.clone(), self.clients.len());
        let progress = self.progress.clone();
        let work = async move {
            let mut traffic = traffic;
            let mut operations = Vec::new();
            while !stop.is_cancelled() && operations.len() < profile.operations_max {
                let id = clock.operation_id();
                let request = traffic.next(id, &profile);
                let operation = client.ask_as(id, request).await;
                traffic.learn(&operation);
                progress.note(&operation);
                let lost = operation.is_unanswered();
                operations.push(operation);
                if lost {
                    break;
                }
            }
            Done { operations, traffic: Some((place, traffic)) }
        };
        self.clients.spawn_on(work, runtime);
    }

    /// Starts a client that continues at another member when one does not answer.
    pub fn add_roaming(
        &mut self,
        runtime: &Handle,
        mut roamer: Roamer,
        traffic: Traffic,
        profile: Profile,
    ) {
        let (stop, place) = (self.stop.clone(), self.clients.len());
        let progress = self.progress.clone();
        let work = async move {
            let mut traffic = traffic;
            let mut operations = Vec::new();
            while !stop.is_cancelled() && operations.len() < profile.operations_max {
                let operation = roamer.ask(|id| traffic.next(id, &profile)).await;
                traffic.learn(&operation);
                progress.note(&operation);
                operations.push(operation);
            }
            Done { operations, traffic: Some((place, traffic)) }
        };
        self.clients.spawn_on(work, runtime);
    }

    /// Starts a client that sends a single request.
    pub fn ask(&mut self, runtime: &Handle, mut client: Client, request: Request) {
        let work =
            async move { Done { operations: vec![client.ask(request).await], traffic: None } };
        self.clients.spawn_on(work, runtime);
    }

    /// Stops the clients after their current requests. Returns their operations, and their traffic
    /// in the order in which they were added.
    pub async fn finish(self) -> (Vec<Operation>, Vec<Traffic>) {
        self.stop.cancel();
        self.run().await
    }

    /// Waits until every client has sent all requests of its profile. Returns the same as
    /// [`finish`](Self::finish).
    pub async fn run(mut self) -> (Vec<Operation>, Vec<Traffic>) {
        let (mut operations, mut traffics) = (Vec::new(), Vec::new());
        while let Some(done) = self.clients.join_next().await {
            let done = done.expect("a client does not panic");
            operations.extend(done.operations);
            traffics.extend(done.traffic);
        }
        traffics.sort_by_key(|(place, _)| *place);
        (operations, traffics.into_iter().map(|(_, traffic)| traffic).collect())
    }
}
