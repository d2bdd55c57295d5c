//! The means of every round of the operator's work.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::events::Recorder;

use crate::cluster::Planner;
use crate::gate::Gate;
use crate::members::Members;
use crate::metrics::Metrics;

/// The time, in a form that tests can replace.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The means of every round of the operator's work.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The access to the members of stores.
    pub members: Arc<dyn Members>,
    /// The clock.
    pub now: Clock,
    /// How a cluster's next step is planned.
    pub plan: Planner,
    /// The operator's settings for all clusters.
    pub defaults: Defaults,
    /// The publisher of events.
    pub recorder: Recorder,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// Whether this process may act.
    pub gate: Gate,
}

/// The operator's settings for all clusters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Defaults {
    /// The image of the store, without a tag.
    pub image: String,
    /// The version of clusters whose spec has none.
    pub version: String,
    /// The DNS domain of the Kubernetes cluster, such as `cluster.local`.
    pub domain: String,
}
