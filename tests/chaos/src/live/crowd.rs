//! Clients that work until they are stopped, whatever happens to members.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoints::Endpoints;
use super::roamer::Roamer;
use crate::history::{Clock, Operation};
use crate::workload::traffic::{Profile, Traffic};

/// The time between two requests of one client: it bounds how many operations are kept until the
/// next check.
const EVERY: Duration = Duration::from_millis(4);

/// The running clients.
#[derive(Debug)]
pub(super) struct Crowd {
    clients: JoinSet<(usize, Vec<Operation>, Traffic)>,
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
}

impl Crowd {
    /// Starts one client for each of `traffics`.
    pub(super) fn start(
        runtime: &Handle,
        endpoints: &Endpoints,
        clock: &Clock,
        profile: Profile,
        traffics: Vec<Traffic>,
    ) -> Self {
        let (mut clients, stop) = (JoinSet::new(), CancellationToken::new());
        let acknowledged = Arc::new(AtomicUsize::new(0));
        for (place, mut traffic) in traffics.into_iter().enumerate() {
            let mut roamer = Roamer::new(place as u64 + 1, endpoints, clock);
            let (stop, clock, acknowledged) = (stop.clone(), clock.clone(), acknowledged.clone());
            let work = async move {
                let mut operations = Vec::new();
                let mut ticks = tokio::time::interval(EVERY);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                while !stop.is_cancelled() {
                    ticks.tick().await;
                    let id = clock.operation_id();
                    let request = traffic.next(id, &profile);
                    let operation = roamer.ask_as(id, request).await;
                    traffic.learn(&operation);
                    if operation.response().is_some_and(|response| response.says_written()) {
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                    operations.push(operation);
                }
                (place, operations, traffic)
            };
            clients.spawn_on(work, runtime);
        }
        Self { clients, stop, acknowledged }
    }

    /// The number of acknowledged writes so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Stops the clients after their current requests. Returns their operations, and their traffic
    /// in the given order.
    pub(super) async fn finish(mut self) -> (Vec<Operation>, Vec<Traffic>) {
        self.stop.cancel();
        let (mut operations, mut traffics) = (Vec::new(), Vec::new());
        while let Some(done) = self.clients.join_next().await {
            let (place, did, traffic) = done.expect("a client does not panic");
            operations.extend(did);
            traffics.push((place, traffic));
        }
        traffics.sort_by_key(|(place, _)| *place);
        (operations, traffics.into_iter().map(|(_, traffic)| traffic).collect())
    }
}
