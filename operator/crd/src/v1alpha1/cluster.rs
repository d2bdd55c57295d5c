//! A cluster, as its user asks for it.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    Client, NetworkPolicy, Placement, PodMetadata, QuorateClusterStatus, Repair, Resources,
    Settings, Storage, Tls,
};
use crate::duration::Span;

/// An image as container runtimes read it: a host with a port, a path in lower case, a tag, a
/// digest.
const IMAGE_RULE: &str = "self.matches('^(([0-9A-Za-z.-]+|[[][0-9a-fA-F:]+[]])(:[0-9]+)?/)?\
                          [a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*\
                          (:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}\
                          |(:[0-9A-Za-z_][0-9A-Za-z_.-]{0,127})?@sha256:[0-9a-f]{64})$')";

/// The spec of the cluster. Each field has a default, so that an empty spec gives a cluster of
/// three members.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "QuorateCluster",
    plural = "quorateclusters",
    shortname = "qc",
    namespaced,
    derive = "PartialEq",
    status = "QuorateClusterStatus",
    doc = "A replicated key-value store with the API of etcd v3.",
    scale(
        spec_replicas_path = ".spec.members",
        status_replicas_path = ".status.members",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "How many members are ready, of those wanted."
    ),
    printcolumn(
        name = "Quorum",
        type_ = "string",
        json_path = ".status.quorum.text",
        description = "How many voters are healthy, and how many more can fail."
    ),
    printcolumn(
        name = "Leader",
        type_ = "string",
        json_path = ".status.leader",
        description = "The leading member."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "The version that all members run."
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "The state of the cluster in one word."
    ),
    printcolumn(
        name = "Change",
        type_ = "string",
        json_path = ".status.change.text",
        priority = 1,
        description = "The change under way."
    ),
    printcolumn(
        name = "Cluster-ID",
        type_ = "string",
        json_path = ".status.clusterId",
        priority = 1,
        description = "The id of the store's cluster."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "The time since the resource was created."
    ),
    validation = Rule::new("!has(oldSelf.status) || has(self.status)")
        .message(
            "status cannot be removed: it holds the cluster's id and the next member's number"
        )
        .reason(Reason::FieldValueForbidden),
    validation = Rule::new(
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z][-a-z0-9]*$')"
    )
    .message(
        "metadata.name must have at most 40 characters of a to z, 0 to 9 and '-', and begin with \
         a letter: names of pods and hosts are made of it"
    ),
    validation = Rule::new(
        "!self.metadata.name.endsWith('-client') && !self.metadata.name.contains('-client-')"
    )
    .message(
        "metadata.name must not end in -client or contain -client-: the Secrets of another \
         cluster's clients could have the names of this cluster's Secrets"
    )
)]
#[x_kube(
    validation = Rule::new("!has(self.image) || has(self.version)")
        .message(
            "version is required with image: the operator must know the version of the image"
        )
        .field_path(".version")
        .reason(Reason::FieldValueRequired),
    validation = Rule::new(
        "!has(self.settings.quota) || !isQuantity(self.settings.quota) \
         || !isQuantity(self.storage.size) \
         || quantity(self.settings.quota).add(quantity(self.settings.quota))\
         .add(quantity('512Mi')).compareTo(quantity(self.storage.size)) <= 0"
    )
    .message(
        "settings.quota must leave room in storage.size for a second copy of the data and for \
         512Mi of logs: lower the quota or raise the size"
    )
    .field_path(".settings.quota")
)]
#[serde(rename_all = "camelCase")]
pub struct QuorateClusterSpec {
    /// How many members vote: 1, 3, 5 or 7. One member survives no failure, 3 survive one, 5
    /// survive two and 7 survive three. The default is 3. The command kubectl scale also sets this
    /// number.
    #[schemars(range(min = 1, max = 7))]
    #[serde(default = "three")]
    #[x_kube(
        validation = Rule::new("self % 2 == 1")
            .message(
                "members must be odd, so 1, 3, 5 or 7: an even number survives no more failures \
                 than one member less"
            )
    )]
    pub members: i32,
    /// The version of Quorate, as in 0.1.0. The default is the version of the operator. Members are
    /// updated one at a time, the leader last. The operator refuses an older version than the one
    /// that runs.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new(
            "self.matches('^[0-9]+[.][0-9]+[.][0-9]+(-[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?)?$')"
        )
        .message(
            "version must be three numbers, as in 0.1.0, without a v in front; a pre-release, as \
             in 0.2.0-rc.1, must end with a letter or digit"
        )
    )]
    pub version: Option<String>,
    /// The image, with its tag or digest. The default is the image of the version in the registry
    /// of the operator. It must be an image of the version given in the field version.
    #[schemars(length(max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new(IMAGE_RULE)
            .message(
                "image must be a name in lower case with a tag or a digest, as in \
                 registry.example/quorate:0.1.0, without https:// in front"
            )
    )]
    pub image: Option<String>,
    /// The volume of each member.
    #[serde(default)]
    pub storage: Storage,
    /// CPU and memory of each member.
    #[serde(default)]
    pub resources: Resources,
    /// Settings of the store. A change restarts the members, one at a time, the leader last.
    #[serde(default)]
    pub settings: Settings,
    /// Certificates. TLS is always on, between members and for clients.
    #[serde(default)]
    pub tls: Tls,
    /// The clients that get a certificate, each in a Secret whose name is made of the names of the
    /// cluster and of the client, as in main-client-app.
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(default)]
    pub clients: Vec<Client>,
    /// Where members run.
    #[serde(default)]
    pub placement: Placement,
    /// Labels, annotations and image secrets of the pods.
    #[serde(default)]
    pub pod: PodMetadata,
    /// Which pods may connect.
    #[serde(default)]
    pub network_policy: NetworkPolicy,
    /// How failed members are replaced.
    #[serde(default)]
    pub repair: Repair,
    /// How long a change may take before the operator reports it as stuck. The default is 10m.
    #[serde(default = "ten_minutes")]
    pub progress_deadline: Span,
    /// Stops all members. Their volumes and identities are kept, and false starts them again.
    #[serde(default)]
    pub hibernated: bool,
    /// Stops the operator's work on this cluster. Its members go on running, and the status is
    /// still written.
    #[serde(default)]
    pub paused: bool,
}

fn three() -> i32 {
    3
}

fn ten_minutes() -> Span {
    Span::from("10m")
}

impl Default for QuorateClusterSpec {
    fn default() -> Self {
        Self {
            members: three(),
            version: None,
            image: None,
            storage: Storage::default(),
            resources: Resources::default(),
            settings: Settings::default(),
            tls: Tls::default(),
            clients: Vec::new(),
            placement: Placement::default(),
            pod: PodMetadata::default(),
            network_policy: NetworkPolicy::default(),
            repair: Repair::default(),
            progress_deadline: ten_minutes(),
            hibernated: false,
            paused: false,
        }
    }
}
