//! A member: the operator's record of its identity and of its state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The identity of the member. It cannot be changed.
#[derive(Clone, CustomResource, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "QuorateMember",
    plural = "quoratemembers",
    shortname = "qm",
    namespaced,
    derive = "PartialEq",
    status = "QuorateMemberStatus",
    doc = "A member of a QuorateCluster. The operator makes and removes it; people only look.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.cluster",
        description = "The cluster that the member belongs to."
    ),
    printcolumn(
        name = "Role",
        type_ = "string",
        json_path = ".status.role",
        description = "Voter or Learner."
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "The state of the member in one word."
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "The version that the member runs."
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.node",
        description = "The node of the member's pod."
    ),
    printcolumn(
        name = "Member-ID",
        type_ = "string",
        json_path = ".status.memberId",
        priority = 1,
        description = "The id of the member in the store."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "The time since the resource was created."
    ),
    validation = Rule::new(
        "self.metadata.name == '%s-%d'.format([self.spec.cluster, self.spec.number])"
    )
    .message("metadata.name must be the name of the cluster, '-', and the number, as in main-1")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("the spec of a member cannot be changed: the operator replaces members")
        .reason(Reason::FieldValueForbidden)
)]
pub struct QuorateMemberSpec {
    /// The cluster that the member belongs to.
    #[schemars(length(min = 1, max = 40))]
    pub cluster: String,
    /// The number of the member. No other member of the cluster ever has it.
    #[schemars(range(min = 0))]
    pub number: i64,
    /// Whether the member founds the cluster. All others join it.
    pub founds: bool,
}

/// The operator's knowledge of the member.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(oldSelf.memberId) || (has(self.memberId) && self.memberId == oldSelf.memberId)"
    )
    .message("memberId cannot be changed once it is recorded: the operator replaces members")
    .field_path(".memberId")
    .reason(Reason::FieldValueForbidden)
)]
pub struct QuorateMemberStatus {
    /// The id in the store, in hexadecimal. It is written once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// The state of the member in one word.
    #[serde(default)]
    pub phase: MemberPhase,
    /// Voter or Learner.
    #[serde(default)]
    pub role: String,
    /// The version that the member runs.
    #[serde(default)]
    pub version: String,
    /// The node of the member's pod.
    #[serde(default)]
    pub node: String,
    /// Time from which the member could not be reached. Absent while it can be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Time>,
    /// The reason of the state, as a text.
    #[serde(default)]
    pub message: String,
}

/// The state of the member in one word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum MemberPhase {
    /// It is not part of the store yet.
    #[default]
    Pending,
    /// It receives the data.
    Joining,
    /// It serves.
    Ready,
    /// It cannot be reached, or does not serve.
    Unhealthy,
    /// It is being removed.
    Leaving,
    /// It is stopped on request.
    Hibernated,
}
