//! Clients at work until they are told to stop, or nobody answers them.

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

/// How long clients may take to be answered a few times, however busy the machine is.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(60);

/// Several clients at work.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<Done>,
    stop: CancellationToken,
    clock: Clock,
    progress: Arc<Progress>,
}

/// What clients were answered so far.
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

/// What a client leaves.
#[derive(Debug)]
struct Done {
    operations: Vec<Operation>,
    /// With its place among the others.
    traffic: Option<(usize, Traffic)>,
}

impl Load {
    /// A load without clients.
    pub fn new(clock: &Clock) -> Self {
        let (clients, stop) = (JoinSet::new(), CancellationToken::new());
        Self { clients, stop, clock: clock.clone(), progress: Arc::default() }
    }

    /// Waits until so many writes were acknowledged and so many reads answered.
    ///
    /// # Panics
    /// When they are not.
    pub fn await_traffic(&self, writes: usize, reads: usize) {
        let Progress { writes: written, reads: read } = &*self.progress;
        wait::until("traffic before the fault", TRAFFIC_WITHIN, || {
            let enough =
                written.load(Ordering::SeqCst) >= writes && read.load(Ordering::SeqCst) >= reads;
            enough.then_some(())
        });
    }

    /// Sets a client to work.
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

    /// Sets a client to work that goes on at another member when one does not answer.
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

    /// Lets a client ask one thing beside the others.
    pub fn ask(&mut self, runtime: &Handle, mut client: Client, request: Request) {
        let work =
            async move { Done { operations: vec![client.ask(request).await], traffic: None } };
        self.clients.spawn_on(work, runtime);
    }

    /// Lets every client end what it is at. Returns what they did, and their traffic in the order
    /// in which they were added.
    pub async fn finish(self) -> (Vec<Operation>, Vec<Traffic>) {
        self.stop.cancel();
        self.run().await
    }

    /// Waits until every client has done as much as its profile says. Returns the same.
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
