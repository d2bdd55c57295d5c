//! A pretend world around the operator: the API server, nodes that run pods, and one store.
//!
//! Time passes in ticks of a second. In a tick, each part of the world does one step of its work.
//! So the operator sees every state between two steps at some time.

mod checks;
mod fingerprint;
mod harm;
mod members;
mod nodes;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::{Key, Objects, Request, Verb};

pub(crate) use checks::Checks;
pub(crate) use fingerprint::Fingerprint;
pub(crate) use members::Reach;
pub(crate) use nodes::BAD_FLAG;
pub(crate) use store::{Store, quorum};

/// The namespace of the cluster.
pub(crate) const NAMESPACE: &str = "stores";
/// The name of the cluster.
pub(crate) const CLUSTER: &str = "main";

/// A world that the operators in it share.
pub(crate) type Shared = Arc<Mutex<World>>;

/// The world.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) store: Store,
    pub(crate) checks: Checks,
    /// The data on each volume, by the uid of its claim.
    data: BTreeMap<String, u64>,
    /// The processes by the uid of their pods.
    processes: BTreeMap<String, nodes::Process>,
    /// The nodes that are gone.
    lost_nodes: BTreeSet<String>,
    /// The members whose processes hang.
    frozen: BTreeSet<String>,
    /// The objects that were taken away.
    hidden: Vec<(Key, Value)>,
    /// The number of pods that were started.
    starts: u32,
    /// How often members were asked to read their certificates again.
    rereads: u64,
}

/// The place of an object of the cluster.
pub(crate) fn key(plural: &'static str, name: &str) -> Key {
    Key { plural, namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

impl World {
    /// A world without a cluster.
    pub(crate) fn new() -> Self {
        let mut world = Self::default();
        world.objects.now = "2026-01-01T00:00:00Z".parse().expect("a time");
        world
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.objects.now
    }

    /// Lets a user create the cluster.
    pub(crate) fn create(&mut self, spec: &Value) {
        let body = json!({
            "apiVersion": "quorate.dev/v1alpha1",
            "kind": "QuorateCluster",
            "metadata": { "name": CLUSTER },
            "spec": spec,
        });
        let request = Request::new(Verb::Create, "quorateclusters", NAMESPACE, body);
        self.objects.answer(&request).expect("the cluster is accepted");
        self.observe(None);
    }

    /// Lets a user change the cluster's object.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Value)) {
        self.objects.edit(&key("quorateclusters", CLUSTER), change);
        self.observe(None);
    }

    /// Lets a user delete the cluster.
    pub(crate) fn delete(&mut self) {
        self.objects.end(&key("quorateclusters", CLUSTER), None);
        self.observe(None);
    }

    /// The cluster's object; null if there is none.
    pub(crate) fn cluster(&self) -> &Value {
        self.objects.get(&key("quorateclusters", CLUSTER)).unwrap_or(&Value::Null)
    }

    /// Lets time pass: at least a tick.
    pub(crate) fn pass(&mut self, span: SignedDuration) {
        self.objects.now += span.max(SignedDuration::from_secs(1));
        self.objects.control();
        self.run_nodes();
        let processes = self.processes.values();
        let running = processes.filter_map(|process| self.serving(process)).collect();
        self.store.tick(&running);
        self.report_pods();
        self.observe(None);
    }

    /// Answers a request of an operator.
    pub(crate) fn answer(&mut self, request: &Request) -> crate::api::Answer {
        let answer = self.objects.answer(request);
        if !request.is_read() {
            self.observe(Some(&request.text()));
        }
        answer
    }

    /// The name of the store's leader; empty if there is none.
    pub(crate) fn leader(&self) -> &str {
        self.store.members.get(&self.store.leader).map_or("", |peer| &peer.name)
    }

    /// The numbers that a settled world no longer changes.
    pub(crate) fn version(&self) -> (u64, u64, u64, u64) {
        (self.objects.revision(), self.store.configuration, self.store.term, self.rereads)
    }
}
