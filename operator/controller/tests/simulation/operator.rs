//! An operator in a pretend world.

use std::sync::Arc;

use jiff::SignedDuration;
use kube::runtime::events::{Recorder, Reporter};
use quorate_controller::cluster::{self, Key, Next, Planner};
use quorate_controller::context::{Context, Defaults};
use quorate_controller::gate::Gate;
use quorate_controller::metrics::Metrics;

use crate::api::{self, Server};
use crate::calls::Calls;
use crate::world::{CLUSTER, NAMESPACE, Reach, Shared};

/// How long an operator that waits for a change sleeps here: it has no watch.
const WATCH: SignedDuration = SignedDuration::from_secs(60);

/// An operator. It remembers nothing between its rounds but its metrics.
pub(crate) struct Operator {
    context: Context,
    pub(crate) calls: Arc<Calls>,
}

impl Operator {
    /// An operator that has just started.
    pub(crate) fn new(world: &Shared, plan: Planner, calls: Calls) -> Self {
        let server = Arc::clone(world);
        let server = Arc::new(move |request: &_| server.lock().unwrap().answer(request));
        Self::over(server, world, plan, calls)
    }

    /// An operator whose requests to the API server go to `server`.
    pub(crate) fn over(server: Server, world: &Shared, plan: Planner, calls: Calls) -> Self {
        let calls = Arc::new(calls);
        let client = api::serve(server, Arc::clone(&calls));
        let clock = Arc::clone(world);
        let context = Context {
            client: client.clone(),
            members: Arc::new(Reach { world: Arc::clone(world), calls: Arc::clone(&calls) }),
            now: Arc::new(move || clock.lock().unwrap().now()),
            plan,
            defaults: Defaults {
                image: "quorate".to_owned(),
                version: "0.1.0".to_owned(),
                domain: "cluster.local".to_owned(),
            },
            recorder: Recorder::new(client, Reporter::from("quorate-operator")),
            metrics: Metrics::new(),
            gate: Gate::open(),
        };
        Self { context, calls }
    }

    /// Does one round of work. Returns when it wants to come again, or why it failed.
    pub(crate) async fn round(&self) -> Result<SignedDuration, String> {
        let key = Key { namespace: NAMESPACE.to_owned(), name: CLUSTER.to_owned() };
        match cluster::reconcile(&key, &self.context).await {
            Ok(Next::Soon) => Ok(SignedDuration::ZERO),
            Ok(Next::After(span)) => Ok(SignedDuration::try_from(span).expect("a short span")),
            Ok(Next::Change) => Ok(WATCH),
            Err(error) => Err(error.chain()),
        }
    }
}
