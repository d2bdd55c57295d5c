//! The resource definitions, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;

use crate::v1alpha1::{QuorateCluster, QuorateMember};

/// The resource definitions of all kinds.
///
/// # Panics
/// If a kind has no schema, which the derivation excludes.
#[must_use]
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [QuorateCluster::crd(), QuorateMember::crd()].map(|mut definition| {
        for version in &mut definition.spec.versions {
            let schema = version.schema.as_mut().and_then(|it| it.open_api_v3_schema.as_mut());
            let schema = schema.expect("the schema is derived");
            adapt(schema);
            let status = schema.properties.as_mut().and_then(|it| it.get_mut("status"));
            // The operator writes the whole status.
            each(status.expect("each kind has a status"), &mut |schema| schema.default = None);
        }
        definition
    })
}

/// Adapts a schema to the API server and to `kubectl explain`.
fn adapt(schema: &mut JSONSchemaProps) {
    each(schema, &mut |schema| {
        // A null is then dropped before the rules see it, and a default takes its place.
        schema.nullable = None;
        schema.title = None;
        if let Some(description) = &mut schema.description {
            *description = one_line(description);
        }
    });
}

/// Calls `change` with a schema and all below it.
fn each(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        each(property, change);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        each(items, change);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        each(values, change);
    }
}

/// The text with its paragraphs in one line each.
fn one_line(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|lines| lines.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n")
}
