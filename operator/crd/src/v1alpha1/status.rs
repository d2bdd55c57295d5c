//! The operator's knowledge of a cluster, for people and for the operator's own next step.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions_schema;

/// The operator's knowledge of the cluster. It holds nothing that changes while the cluster is
/// idle.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!has(oldSelf.clusterId) || (has(self.clusterId) && self.clusterId == oldSelf.clusterId)"
    )
    .message("clusterId cannot be changed once it is recorded: the cluster would be founded again")
    .field_path(".clusterId")
    .reason(Reason::FieldValueForbidden),
    validation = Rule::new(
        "!has(oldSelf.nextMember) \
         || (has(self.nextMember) && self.nextMember >= oldSelf.nextMember)"
    )
    .message("nextMember cannot decrease: a member's name would be used twice")
    .field_path(".nextMember")
    .reason(Reason::FieldValueForbidden)
)]
pub struct QuorateClusterStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// The state of the cluster in one word.
    #[serde(default)]
    pub phase: Phase,
    /// How many members are ready, of those wanted, as in 3/3.
    #[serde(default)]
    pub ready: String,
    /// How many members there are, for kubectl scale.
    #[serde(default)]
    pub members: i32,
    /// The labels of the pods, for kubectl scale.
    #[serde(default)]
    pub selector: String,
    /// The name of the leading member. It is empty if none is known.
    #[serde(default)]
    pub leader: String,
    /// The version that all members run. It is empty while they differ.
    #[serde(default)]
    pub version: String,
    /// The id of the store's cluster, in hexadecimal. Once it is here, the operator never founds
    /// the cluster again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The URL for clients.
    #[serde(default)]
    pub endpoint: String,
    /// How many voters are healthy, and how many must be.
    #[serde(default)]
    pub quorum: Quorum,
    /// How full the fullest member is, in percent of its quota, in steps of 5.
    #[serde(default)]
    pub used_percent: i32,
    /// When certificates expire.
    #[serde(default)]
    pub certificates: Certificates,
    /// The number of the next member. A number is never used twice.
    #[serde(default)]
    pub next_member: i64,
    /// The change under way. It is the lock that admits one change at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The conditions, each with a stable reason.
    #[schemars(schema_with = "conditions_schema")]
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// The state of the cluster in one word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Phase {
    /// The operator has not seen the cluster yet.
    #[default]
    Pending,
    /// The first member is being started.
    Founding,
    /// All members are ready, and nothing is to be done.
    Ready,
    /// A change is under way.
    Changing,
    /// The store serves, and something is wrong: see the conditions.
    Degraded,
    /// The store has no quorum, or cannot be reached.
    Unavailable,
    /// All members are stopped on request.
    Hibernated,
    /// The operator does not work on this cluster, on request.
    Paused,
    /// The operator cannot go on: see the conditions.
    Failed,
}

/// How many voters are healthy, and how many must be.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quorum {
    /// How many voters are healthy.
    pub have: i32,
    /// How many voters must be healthy.
    pub need: i32,
    /// How many more voters can fail.
    pub can_lose: i32,
    /// The numbers above as a text, as in "3 of 3, can lose 1".
    pub text: String,
}

/// When certificates expire.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificates {
    /// When the authority for clients expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<Time>,
    /// When the authority for members expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_ca: Option<Time>,
    /// When the next certificate of a member or client expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_expiry: Option<Time>,
}

/// A change under way. It is written before its first step and removed after its last one.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The kind of the change.
    pub kind: ChangeKind,
    /// The member that changes, or that comes.
    pub member: String,
    /// The member that is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The reason of the change, as a text.
    pub reason: String,
    /// When the change began.
    pub started_at: Time,
    /// When the operator reports the change as stuck.
    pub deadline: Time,
    /// The change as a text, as in "Add main-4".
    pub text: String,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ChangeKind {
    /// The first member is founded.
    Found,
    /// A member is added.
    Add,
    /// A member is removed.
    Remove,
    /// A member is added for another one that has failed, which is then removed.
    Replace,
    /// A member is restarted with other settings or another version.
    Update,
    /// All members are stopped.
    Hibernate,
    /// All members are started.
    Wake,
}
