//! The resources that members use of their nodes.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::labels::resources_schema;

/// CPU and memory of a pod, in Kubernetes' units.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.requests.all(name, !(name in self.limits) || !isQuantity(self.requests[name]) \
         || !isQuantity(self.limits[name]) \
         || quantity(self.requests[name]).compareTo(quantity(self.limits[name])) <= 0)"
    )
    .message("resources.requests must not exceed resources.limits: lower one or raise the other")
)]
pub struct Resources {
    /// The resources that a member is guaranteed. The default is 200m of cpu and 512Mi of memory.
    #[schemars(schema_with = "resources_schema")]
    #[serde(default = "requests")]
    pub requests: BTreeMap<String, String>,
    /// The resources that a member may use. The default is 2Gi of memory. The store takes a twelfth
    /// of the memory limit for requests in flight.
    #[schemars(schema_with = "resources_schema")]
    #[serde(default = "limits")]
    pub limits: BTreeMap<String, String>,
}

fn requests() -> BTreeMap<String, String> {
    [("cpu", "200m"), ("memory", "512Mi")].map(|(name, it)| (name.into(), it.into())).into()
}

fn limits() -> BTreeMap<String, String> {
    [("memory".to_owned(), "2Gi".to_owned())].into()
}

impl Default for Resources {
    fn default() -> Self {
        Self { requests: requests(), limits: limits() }
    }
}
