//! The kinds of objects that the API server has.

use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use quorate_crd::v1alpha1::{QuorateCluster, QuorateMember};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of objects.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) name: &'static str,
    /// The status that an object is created with, in JSON. Kinds that have one take changes of it
    /// only at `/status`.
    pub(crate) status: Option<&'static str>,
    /// Whether changes of the spec are counted.
    pub(crate) has_generation: bool,
    /// Whether a custom resource defines it.
    pub(crate) is_custom: bool,
    /// Whether the answer to a deletion is the object, and not a `Status`.
    pub(crate) returns_deleted: bool,
    /// Reads an object and writes it again, which drops unknown fields, and adds defaults to custom
    /// resources.
    pub(crate) read: fn(Value) -> Result<Value, serde_json::Error>,
}

const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    plural: "",
    name: "",
    status: None,
    has_generation: false,
    is_custom: false,
    returns_deleted: false,
    read: |_| unreachable!("every kind has its own"),
};

/// A custom resource. Its status begins empty.
const CUSTOM: Kind = Kind {
    group: "quorate.dev",
    version: "v1alpha1",
    status: Some("null"),
    has_generation: true,
    is_custom: true,
    ..PLAIN
};

static KINDS: [Kind; 11] = [
    Kind { plural: "configmaps", name: "ConfigMap", read: read::<ConfigMap>, ..PLAIN },
    Kind { plural: "nodes", name: "Node", read: read::<Node>, ..PLAIN },
    Kind { plural: "secrets", name: "Secret", read: read::<Secret>, ..PLAIN },
    Kind {
        plural: "services",
        name: "Service",
        status: Some(r#"{"loadBalancer":{}}"#),
        returns_deleted: true,
        read: read::<Service>,
        ..PLAIN
    },
    Kind {
        plural: "pods",
        name: "Pod",
        status: Some(r#"{"phase":"Pending"}"#),
        has_generation: true,
        returns_deleted: true,
        read: read::<Pod>,
        ..PLAIN
    },
    Kind {
        plural: "persistentvolumeclaims",
        name: "PersistentVolumeClaim",
        status: Some(r#"{"phase":"Pending"}"#),
        returns_deleted: true,
        read: read::<PersistentVolumeClaim>,
        ..PLAIN
    },
    Kind {
        group: "policy",
        plural: "poddisruptionbudgets",
        name: "PodDisruptionBudget",
        status: Some("null"),
        has_generation: true,
        read: read::<PodDisruptionBudget>,
        ..PLAIN
    },
    Kind {
        group: "networking.k8s.io",
        plural: "networkpolicies",
        name: "NetworkPolicy",
        has_generation: true,
        read: read::<NetworkPolicy>,
        ..PLAIN
    },
    Kind { group: "events.k8s.io", plural: "events", name: "Event", read: read::<Event>, ..PLAIN },
    Kind {
        plural: "quorateclusters",
        name: "QuorateCluster",
        read: read_custom::<QuorateCluster>,
        ..CUSTOM
    },
    Kind {
        plural: "quoratemembers",
        name: "QuorateMember",
        read: read_custom::<QuorateMember>,
        ..CUSTOM
    },
];

impl Kind {
    /// The kind with this plural.
    pub(crate) fn of(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        KINDS.iter().find(|it| (it.group, it.version, it.plural) == (group, version, plural))
    }

    /// The kind with this plural, which must exist.
    pub(crate) fn named(plural: &str) -> &'static Self {
        KINDS.iter().find(|it| it.plural == plural).expect("the kind exists")
    }

    /// Group and version, as objects name them.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Reads an object of Kubernetes' own. It is stored without empty lists.
fn read<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
    let mut object = typed::<T>(object)?;
    drop_empty_lists(&mut object);
    Ok(object)
}

fn typed<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object)?)
}

fn drop_empty_lists(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| field.as_array().is_none_or(|list| !list.is_empty()));
            fields.values_mut().for_each(drop_empty_lists);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty_lists),
        _ => {}
    }
}

/// Reads a custom resource, whose status has no defaults.
fn read_custom<T: DeserializeOwned + Serialize>(object: Value) -> Result<Value, serde_json::Error> {
    let given = object["status"].clone();
    let mut object = typed::<T>(object)?;
    drop_empty_lists(&mut object["metadata"]);
    if let (Some(given), Some(status)) = (given.as_object(), object["status"].as_object_mut()) {
        status.retain(|name, _| given.contains_key(name));
    }
    Ok(object)
}
