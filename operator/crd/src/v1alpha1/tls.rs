//! Certificates, the clients that get them, and the pods that may connect.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::labels::labels_schema;

/// Certificates. The operator has an authority for clients and another one for members, and renews
/// every certificate before it expires.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// How long certificates of members and clients are valid. They are renewed after two thirds of
    /// it. The default is 2160h, which is 90 days.
    #[serde(default = "ninety_days")]
    #[x_kube(
        validation = Rule::new(
            "!self.matches('^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') || duration(self) >= duration('2m')"
        )
        .message(
            "tls.lifetime must be at least 2m: a renewed certificate reaches the members within a \
             minute or two"
        )
    )]
    pub lifetime: Span,
    /// Further host names and IP addresses of the servers' certificates, for clients from outside,
    /// as in store.example.com or *.example.com.
    #[schemars(length(max = 32), inner(length(max = 253)))]
    #[serde(default)]
    #[x_kube(
        validation = Rule::new(
            "self.all(name, isIP(name) || (!name.matches('(^|[.])[0-9]+$') \
             && !format.dns1123Subdomain().validate(name.replace('*.', '', 1)).hasValue() \
             && name.lastIndexOf('*') <= 0 \
             && !name.matches('[^.]{64}')))"
        )
        .message("tls.extraNames must be host names in lower case, or IP addresses")
    )]
    pub extra_names: Vec<String>,
}

fn ninety_days() -> Span {
    Span::from("2160h")
}

impl Default for Tls {
    fn default() -> Self {
        Self { lifetime: ninety_days(), extra_names: Vec::new() }
    }
}

/// A client that gets a certificate.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The name of the client. The name of its Secret ends with it.
    #[schemars(length(max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("a client's name must be of a to z, 0 to 9 and '-', as in kube-apiserver"),
        validation = Rule::new("self != 'ca'")
            .message("a client's name must not be ca: the authority's Secret has that name")
    )]
    pub name: String,
    /// The common name of the certificate, which is the user of the store when its authentication
    /// is on. The default is the name of the client.
    #[schemars(length(min = 1, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Which pods may connect.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Whether the operator makes a NetworkPolicy, by which only members reach the peer port of
    /// members. The default is true.
    pub enabled: bool,
    /// The labels of the pods that may connect to the client port, one set of labels for each kind
    /// of pod. If there is none, all pods and hosts may connect.
    #[schemars(schema_with = "selectors_schema")]
    pub clients: Vec<BTreeMap<String, String>>,
}

/// Sets of labels, none empty: an empty one would select all pods.
fn selectors_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut labels = labels_schema(generator);
    labels.insert("minProperties".into(), 1.into());
    json_schema!({ "type": "array", "maxItems": 8, "items": labels })
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true, clients: Vec::new() }
    }
}
