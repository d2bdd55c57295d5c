//! The NetworkPolicy of a cluster.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use quorate_crd::names::{self, PORT_CLIENT, PORT_METRICS, PORT_PEER};
use quorate_crd::v1alpha1::QuorateCluster;
use serde_json::{Value, json};

use super::Owner;

/// The NetworkPolicy of a cluster, if the user wants one: members are reached at their peer port by
/// members alone, and at their client port by the pods that the user names and by the operator.
#[must_use]
pub fn policy(cluster: &QuorateCluster) -> Option<NetworkPolicy> {
    if !cluster.spec.network_policy.enabled {
        return None;
    }
    let name = cluster.name_any();
    let port = |port: u16| json!([{ "port": port, "protocol": "TCP" }]);
    let members = json!([{ "podSelector": { "matchLabels": super::selector(&name) } }]);
    let mut policy: NetworkPolicy = super::object(json!({ "spec": {
        "podSelector": { "matchLabels": super::selector(&name) },
        "policyTypes": ["Ingress"],
        "ingress": [
            { "ports": port(PORT_PEER), "from": members },
            { "ports": port(PORT_CLIENT), "from": clients(cluster) },
            { "ports": port(PORT_METRICS) },
        ],
    }}));
    policy.metadata = super::metadata(cluster, name, Owner::Cluster(cluster));
    Some(policy)
}

/// The peers that may connect to the client port; null for all.
fn clients(cluster: &QuorateCluster) -> Value {
    let clients = &cluster.spec.network_policy.clients;
    if clients.is_empty() {
        return Value::Null;
    }
    let operator = [(names::LABEL_NAME.to_owned(), names::MANAGER.to_owned())].into();
    let allowed = clients.iter().chain([&operator]);
    let pods = |labels| {
        json!({
            "namespaceSelector": {},
            "podSelector": { "matchLabels": labels },
        })
    };
    Value::Array(allowed.map(pods).collect())
}
