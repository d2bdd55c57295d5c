//! Where members run, and the metadata of their pods.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::labels::{annotations_schema, labels_schema};

/// Where members run.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Whether members spread over hosts. Preferred, the default, spreads them as far as possible.
    /// With Required, a member waits if it cannot be placed apart from the others. With Anywhere,
    /// members may run side by side.
    #[serde(default)]
    pub hosts: Spread,
    /// Whether members spread over zones: Preferred, the default, Required or Anywhere, as for
    /// hosts.
    #[serde(default)]
    pub zones: Spread,
    /// Labels of the nodes that members may run on.
    #[schemars(schema_with = "labels_schema")]
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that members tolerate.
    #[schemars(length(max = 32))]
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// The priority class of the pods.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("!format.dns1123Subdomain().validate(self).hasValue()")
            .message("placement.priorityClassName must be the name of a priority class")
    )]
    pub priority_class_name: Option<String>,
}

/// Whether members spread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Spread {
    /// As far as possible.
    #[default]
    Preferred,
    /// A member waits if it cannot be placed apart from the others.
    Required,
    /// Members may run side by side.
    Anywhere,
}

/// A taint of nodes that members tolerate.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.key) || (has(self.operator) && self.operator == 'Exists')")
        .message("operator must be Exists in a toleration without a key")
        .field_path(".operator"),
    validation = Rule::new(
        "!has(self.operator) || self.operator != 'Exists' || !has(self.value)"
    )
    .message("value must be left out of a toleration with operator Exists")
    .field_path(".value"),
    validation = Rule::new(
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')"
    )
    .message("effect must be NoExecute in a toleration with tolerationSeconds")
    .field_path(".effect"),
    validation = Rule::new(
        "!has(self.key) || !format.qualifiedName().validate(self.key).hasValue()"
    )
    .message("key must be the key of a taint, as in example.com/disk")
    .field_path(".key"),
    validation = Rule::new(
        "!has(self.value) || !format.labelValue().validate(self.value).hasValue()"
    )
    .message("value must be at most 63 letters, digits, '-', '_' and '.'")
    .field_path(".value")
)]
pub struct Toleration {
    /// The key of the taint. Without a key, and with operator Exists, all taints are tolerated.
    #[schemars(length(min = 1, max = 316))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Equal, which is the default, or Exists.
    #[schemars(extend("enum" = ["Equal", "Exists"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The value of the taint, for operator Equal.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute. The default is all of them.
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// How long a NoExecute taint is tolerated, in seconds. The default is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// The labels, annotations and image secrets that a user adds to the pods of members.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels of the pods. Labels of the operator win.
    #[schemars(schema_with = "labels_schema")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods. Annotations of the operator win.
    #[schemars(schema_with = "annotations_schema")]
    pub annotations: BTreeMap<String, String>,
    /// The Secrets with which images are pulled.
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
}
