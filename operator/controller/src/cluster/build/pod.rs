//! The pod of a member.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use quorate_crd::names::{self, PORT_CLIENT, PORT_METRICS, PORT_PEER};
use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember, Spread};
use serde_json::{Value, json};

use super::{Owner, files, flags};
use crate::certificates::ANNOTATION_RENEWED;
use crate::context::Defaults;

/// The label with the version that a pod was made with, as Kubernetes recommends it.
pub const LABEL_VERSION: &str = "app.kubernetes.io/version";
/// The name of the container, and of the image's entry point.
pub const CONTAINER: &str = "quorate";
/// The user and group of the store: not root, and known to all images of ours.
const USER: i64 = 65532;
/// How long a member may take to stop: it hands the leadership over first.
const GRACE_SECONDS: i64 = 60;
/// How long a member that stops goes on serving: until the Service has dropped it.
const STOP_DELAY_SECONDS: i64 = 3;
/// How long a member may take to start: it reads its log, or receives a snapshot.
const START_SECONDS: i32 = 3600;

/// The effect of the first start of a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// It founds the cluster.
    Found,
    /// It joins the members with these names and peer URLs.
    Join(Vec<(String, String)>),
}

/// The parts of a pod besides the spec of its cluster.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The member.
    pub member: &'a QuorateMember,
    /// The version that it runs.
    pub version: &'a str,
    /// The size of its volume, in bytes.
    pub volume_bytes: u64,
    /// The effect of its first start.
    pub start: Start,
    /// Whether it votes.
    pub is_voter: bool,
    /// The text that identifies its first certificates, as in the annotation of their Secret.
    pub certificates: Option<&'a String>,
}

/// The pod of a member.
#[must_use]
pub fn pod(cluster: &QuorateCluster, defaults: &Defaults, parts: &Parts<'_>) -> Pod {
    let Parts { member, version, volume_bytes, start, is_voter, certificates } = parts;
    let name = member.name_any();
    let mut spec = spec(cluster, defaults, &name, version, *volume_bytes);
    let arguments = spec["containers"][0]["args"].as_array_mut().expect("a literal");
    let first_start = flags::first_start(cluster, &name, start);
    arguments.extend(first_start.into_iter().map(Value::String));
    let mut metadata = super::metadata(cluster, name.clone(), Owner::Member(member));
    let mut labels = cluster.spec.pod.labels.clone();
    labels.extend(super::labels(cluster));
    labels.extend(super::member_labels(&name));
    labels.insert(LABEL_VERSION.to_owned(), (*version).to_owned());
    let role = if *is_voter { names::ROLE_VOTER } else { names::ROLE_LEARNER };
    labels.insert(names::LABEL_ROLE.to_owned(), role.to_owned());
    metadata.labels = Some(labels);
    let mut annotations = annotations(cluster);
    let settings = settings(cluster, defaults, *volume_bytes);
    annotations.insert(names::ANNOTATION_SETTINGS.to_owned(), settings);
    let renewed = certificates.map(|renewed| (ANNOTATION_RENEWED.to_owned(), renewed.clone()));
    annotations.extend(renewed);
    metadata.annotations = Some(annotations);
    let mut pod: Pod = super::object(json!({ "spec": spec }));
    pod.metadata = metadata;
    pod
}

/// The hash of all settings of a pod that a new pod would be made with. It leaves out the version,
/// the differences between members, and the settings that only the first start reads.
#[must_use]
pub fn settings(cluster: &QuorateCluster, defaults: &Defaults, volume_bytes: u64) -> String {
    let spec = spec(cluster, defaults, "", "", volume_bytes);
    let labels = &cluster.spec.pod.labels;
    super::hash(&json!([spec, labels, annotations(cluster)]).to_string())
}

fn annotations(cluster: &QuorateCluster) -> BTreeMap<String, String> {
    let mut annotations = cluster.spec.pod.annotations.clone();
    if let Some(restart) = cluster.annotations().get(names::ANNOTATION_RESTART) {
        annotations.insert(names::ANNOTATION_RESTART.to_owned(), restart.clone());
    }
    annotations
}

fn spec(
    cluster: &QuorateCluster,
    defaults: &Defaults,
    member: &str,
    version: &str,
    volume_bytes: u64,
) -> Value {
    let spec = &cluster.spec;
    let name = cluster.name_any();
    let secrets: Vec<Value> =
        spec.pod.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let image = spec.image.clone().unwrap_or_else(|| format!("{}:{version}", defaults.image));
    let container = container(cluster, image, flags::flags(cluster, member, volume_bytes));
    json!({
        "hostname": member,
        "subdomain": names::peer_service(&name),
        "containers": [container],
        "volumes": [
            { "name": "data", "persistentVolumeClaim": { "claimName": names::volume(member) } },
            { "name": "tls", "secret": { "secretName": member, "defaultMode": 0o440 } },
        ],
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "affinity": hosts(&name, spec.placement.hosts),
        "topologySpreadConstraints": zones(&name, spec.placement.zones),
        "nodeSelector": spec.placement.node_selector,
        "tolerations": spec.placement.tolerations,
        "priorityClassName": spec.placement.priority_class_name,
        "imagePullSecrets": secrets,
    })
}

fn container(cluster: &QuorateCluster, image: String, arguments: Vec<String>) -> Value {
    let resources = &cluster.spec.resources;
    let probe = |path: &str, seconds: i32, failures: i32| {
        json!({
            "httpGet": { "path": path, "port": PORT_METRICS, "scheme": "HTTP" },
            "periodSeconds": seconds,
            "timeoutSeconds": 3,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": CONTAINER,
        "image": image,
        "args": arguments,
        "ports": [
            { "name": "client", "containerPort": PORT_CLIENT },
            { "name": "peer", "containerPort": PORT_PEER },
            { "name": "metrics", "containerPort": PORT_METRICS },
        ],
        "resources": { "requests": resources.requests, "limits": resources.limits },
        "volumeMounts": [
            { "name": "data", "mountPath": files::VOLUME },
            { "name": "tls", "mountPath": files::CERTIFICATES, "readOnly": true },
        ],
        "startupProbe": probe("/livez", 2, START_SECONDS / 2),
        // Liveness does not need the quorum: a restart would not bring it back.
        "livenessProbe": probe("/livez", 10, 6),
        // Readiness needs the quorum: a member that is cut off must not allow the eviction of
        // another one.
        "readinessProbe": probe("/readyz", 2, 2),
        "lifecycle": { "preStop": { "sleep": { "seconds": STOP_DELAY_SECONDS } } },
        // The last lines of the log have the reason code of a fatal exit.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

fn hosts(cluster: &str, spread: Spread) -> Value {
    let term = json!({
        "labelSelector": { "matchLabels": super::selector(cluster) },
        "topologyKey": "kubernetes.io/hostname",
    });
    match spread {
        Spread::Anywhere => Value::Null,
        Spread::Required => json!({
            "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] }
        }),
        Spread::Preferred => json!({
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution":
                    [{ "weight": 100, "podAffinityTerm": term }]
            }
        }),
    }
}

fn zones(cluster: &str, spread: Spread) -> Value {
    let when = match spread {
        Spread::Anywhere => return Value::Null,
        Spread::Required => "DoNotSchedule",
        Spread::Preferred => "ScheduleAnyway",
    };
    json!([{
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": when,
        "labelSelector": { "matchLabels": super::selector(cluster) },
    }])
}
