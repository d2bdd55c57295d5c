//! The rounds of work: which cluster is due, and when.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use quorate_crd::names::LABEL_CLUSTER;
use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Key, Next, reconcile};
use crate::context::Context;
use crate::error::Error;

/// How many clusters are worked on at a time.
const CONCURRENCY: u16 = 8;
/// How long changes of objects are collected before a round.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Longest time of a round. A request without an answer ends with it.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);
/// The waits after failed rounds: each one is twice as long as the one before, up to a limit.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The part by which a wait varies, so that clusters are not all looked at in the same moment.
const JITTER: f64 = 0.1;

/// Does rounds of work, and counts failures.
struct Rounds {
    context: Arc<Context>,
    /// How often in a row the rounds of a cluster have failed. It has failing clusters only.
    failures: Mutex<BTreeMap<Key, u32>>,
}

impl Rounds {
    /// Forgets a cluster whose object is gone: no round is done for it any more.
    fn forget<Q: std::error::Error>(&self, error: &controller::Error<Error, Q>) {
        let controller::Error::ObjectNotFound(gone) = error else { return };
        let key =
            Key { namespace: gone.namespace.clone().unwrap_or_default(), name: gone.name.clone() };
        self.failures.lock().remove(&key);
        self.context.metrics.forget(&key);
    }
}

/// Works on all clusters of these namespaces, or of all namespaces if there are none, until `stop`.
pub async fn run(context: Arc<Context>, namespaces: &[String], stop: CancellationToken) {
    let rounds = Arc::new(Rounds { context: context.clone(), failures: Mutex::default() });
    let client = &context.client;
    let scopes: Vec<Option<&String>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.iter().map(Some).collect() };
    let controllers = scopes.into_iter().map(|namespace| {
        let controller = controller(client, namespace);
        let stopped = stop.clone().cancelled_owned();
        let rounds = rounds.clone();
        let ends = controller.graceful_shutdown_on(stopped).run(round, retry, rounds.clone());
        ends.for_each(move |ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a round did not end as it should");
                rounds.forget(&error);
            }
            std::future::ready(())
        })
    });
    join_all(controllers).await;
}

fn controller(client: &Client, namespace: Option<&String>) -> Controller<QuorateCluster> {
    fn api<K>(client: &Client, namespace: Option<&String>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
    fn child<K>(
        controller: Controller<QuorateCluster>,
        client: &Client,
        namespace: Option<&String>,
    ) -> Controller<QuorateCluster>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default().labels(LABEL_CLUSTER);
        controller.watches(api::<K>(client, namespace), config, |child| cluster_of(&child))
    }
    let clusters = api::<QuorateCluster>(client, namespace);
    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let controller = Controller::new(clusters, watcher::Config::default()).with_config(config);
    let controller = child::<QuorateMember>(controller, client, namespace);
    let controller = child::<Pod>(controller, client, namespace);
    let controller = child::<PersistentVolumeClaim>(controller, client, namespace);
    let controller = child::<PartialObjectMeta<Secret>>(controller, client, namespace);
    let controller = child::<Service>(controller, client, namespace);
    let controller = child::<NetworkPolicy>(controller, client, namespace);
    child::<PodDisruptionBudget>(controller, client, namespace)
}

/// The cluster that an object belongs to.
fn cluster_of(object: &impl Resource) -> Option<ObjectRef<QuorateCluster>> {
    let name = object.labels().get(LABEL_CLUSTER)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn key(cluster: &QuorateCluster) -> Key {
    Key { namespace: cluster.namespace().unwrap_or_default(), name: cluster.name_any() }
}

async fn round(cluster: Arc<QuorateCluster>, rounds: Arc<Rounds>) -> Result<Action, Error> {
    let key = key(&cluster);
    let context = &rounds.context;
    let began = Instant::now();
    let ended = match tokio::time::timeout(ROUND_TIMEOUT, reconcile(&key, context)).await {
        Ok(ended) => ended,
        Err(_) => Err(Error::TimedOut),
    };
    let result = ended.as_ref().map_or_else(Error::word, |_| "done");
    context.metrics.round(result, began.elapsed());
    let next = ended.inspect_err(|error| {
        let error = error.chain();
        tracing::info!(namespace = key.namespace, cluster = key.name, error, "a round failed");
    })?;
    rounds.failures.lock().remove(&key);
    Ok(match next {
        Next::Soon => Action::requeue(Duration::ZERO),
        Next::After(wait) => Action::requeue(jittered(wait)),
        Next::Change => Action::await_change(),
    })
}

/// When a failed round is done again.
fn retry(cluster: Arc<QuorateCluster>, error: &Error, rounds: Arc<Rounds>) -> Action {
    // Another writer was faster. The next round sees the change, so it need not wait for longer.
    if error.is_conflict() {
        return Action::requeue(BACKOFF_FIRST);
    }
    let mut failures = rounds.failures.lock();
    let count = failures.entry(key(&cluster)).or_default();
    let wait = backoff(*count);
    *count = count.saturating_add(1);
    Action::requeue(jittered(wait))
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(BACKOFF_MAX)
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(1.0 - JITTER..1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_and_longer() {
        let waits: Vec<u64> = (0..8).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    #[test]
    fn an_object_belongs_to_the_cluster_that_its_label_names() {
        let mut pod = Pod::default();
        assert_eq!(cluster_of(&pod), None);
        pod.metadata.namespace = Some("team".to_owned());
        pod.metadata.labels = Some([(LABEL_CLUSTER.to_owned(), "main".to_owned())].into());
        assert_eq!(cluster_of(&pod), Some(ObjectRef::new("main").within("team")));
    }
}
