//! The volumes of members.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// The volume of each member.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.className) == has(oldSelf.className) \
         && (!has(self.className) || self.className == oldSelf.className)"
    )
    .message("storage.className cannot be changed: create another cluster with the new class")
    .field_path(".className")
    .reason(Reason::FieldValueForbidden)
)]
pub struct Storage {
    /// The size, as in 10Gi, which is the default. It may grow and never shrinks. Less than half of
    /// it holds data. The rest is room for a second copy while the file is defragmented or a
    /// snapshot is received.
    #[serde(default = "ten_gibibytes")]
    #[x_kube(
        validation = Rule::new(
            "!isQuantity(self) || quantity(self).compareTo(quantity('1Gi')) >= 0"
        )
        .message("storage.size must be at least 1Gi"),
        validation = Rule::new(
            "!isQuantity(self) || quantity(self).compareTo(quantity(oldSelf)) >= 0"
        )
        .message("storage.size cannot shrink: write the old size or a larger one")
        .reason(Reason::FieldValueForbidden)
    )]
    pub size: Quantity,
    /// The storage class. The default is the default class of the Kubernetes cluster. It cannot be
    /// changed.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("!format.dns1123Subdomain().validate(self).hasValue()")
            .message("storage.className must be the name of a storage class, as in fast-disk")
    )]
    pub class_name: Option<String>,
    /// The fate of the volumes when the cluster is deleted. Retain, the default, keeps them with
    /// all data, and their deletion is up to the user. Delete deletes them with all data.
    #[serde(default)]
    pub on_delete: OnDelete,
}

fn ten_gibibytes() -> Quantity {
    Quantity::from("10Gi")
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: ten_gibibytes(), class_name: None, on_delete: OnDelete::Retain }
    }
}

/// The fate of the volumes when the cluster is deleted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OnDelete {
    /// The volumes stay, with all data.
    #[default]
    Retain,
    /// The volumes are deleted, with all data.
    Delete,
}
