//! The Services of a cluster.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use quorate_crd::names::{self, PORT_CLIENT, PORT_METRICS, PORT_PEER};
use quorate_crd::v1alpha1::QuorateCluster;
use serde_json::json;

use super::Owner;

/// The headless Service that gives each member its host name. It includes members that are not
/// ready, because a member becomes ready only once it reaches the others.
#[must_use]
pub fn peers(cluster: &QuorateCluster) -> Service {
    let name = cluster.name_any();
    let mut service: Service = super::object(json!({ "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": super::selector(&name),
        "ports": [
            { "name": "client", "port": PORT_CLIENT, "targetPort": PORT_CLIENT },
            { "name": "peer", "port": PORT_PEER, "targetPort": PORT_PEER },
            { "name": "metrics", "port": PORT_METRICS, "targetPort": PORT_METRICS },
        ],
    }}));
    service.metadata =
        super::metadata(cluster, names::peer_service(&name), Owner::Cluster(cluster));
    service
}

/// The Service of clients: the voters that are ready.
#[must_use]
pub fn clients(cluster: &QuorateCluster) -> Service {
    let name = cluster.name_any();
    let mut service: Service = super::object(json!({ "spec": {
        "type": "ClusterIP",
        "selector": super::voters(&name),
        "ports": [{ "name": "client", "port": PORT_CLIENT, "targetPort": PORT_CLIENT }],
    }}));
    service.metadata =
        super::metadata(cluster, names::client_service(&name), Owner::Cluster(cluster));
    service
}
