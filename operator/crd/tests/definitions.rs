//! The definitions say everything in plain words, agree with the types, and are in their files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use quorate_crd::definition::definitions;
use quorate_crd::manifest;
use quorate_crd::v1alpha1::QuorateClusterSpec;
use serde_json::{Value, json};

/// The schemas of all kinds.
fn schemas() -> Vec<Value> {
    let definitions = definitions().map(|definition| serde_json::to_value(definition).unwrap());
    let schema = "/spec/versions/0/schema/openAPIV3Schema";
    definitions.iter().map(|it| it.pointer(schema).unwrap().clone()).collect()
}

/// Calls `visit` with the path and the schema of every property.
fn each_property(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        each_property(&path, property, visit);
        each_property(&path, &property["items"], visit);
    }
}

#[test]
fn every_field_has_a_plain_text() {
    let mut fields = 0;
    for schema in schemas() {
        each_property("", &schema, &mut |path, property| {
            let text = property["description"].as_str().unwrap_or_default();
            assert!(text.len() > 10 && text.ends_with('.'), "{path}: {text:?}");
            assert!(text.starts_with(|first: char| first.is_uppercase()), "{path}: {text}");
            assert!(!text.contains(['`', '[', '\n']), "{path}: {text}");
            fields += 1;
        });
    }
    assert!(fields > 80, "{fields} fields");
}

#[test]
fn every_rule_has_a_text_and_no_value_is_null() {
    for schema in schemas() {
        let text = schema.to_string();
        assert!(!text.contains("nullable") && !text.contains(":null") && !text.contains("[null"));
        each_property("", &schema, &mut |path, property| {
            for rule in property["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let message = rule["message"].as_str().unwrap_or_default();
                assert!(
                    message.contains(" must ")
                        || message.contains("must be ")
                        || message.contains(" cannot ")
                        || message.contains(" may ")
                        || message.contains(" is required "),
                    "{path}: {rule}"
                );
            }
        });
    }
}

/// The defaults of the schema, which the API server fills in, are those of the types.
#[test]
fn defaults_are_those_of_the_types() {
    let empty: QuorateClusterSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, QuorateClusterSpec::default());
    let expected = serde_json::to_value(QuorateClusterSpec::default()).unwrap();
    assert_eq!(filled(&schemas()[0]["properties"]["spec"], json!({})), expected);
}

/// The value with the defaults of the schema, as the API server fills them in.
fn filled(schema: &Value, mut value: Value) -> Value {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let fields = value.as_object_mut().unwrap();
        if !fields.contains_key(name)
            && let Some(default) = property.get("default")
        {
            fields.insert(name.clone(), default.clone());
        }
        if let Some(field) = fields.get_mut(name).filter(|field| field.is_object()) {
            *field = filled(property, field.take());
        }
    }
    value
}

#[test]
fn the_generated_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    for (path, text) in manifest::files() {
        let found = fs::read_to_string(root.join(&path)).unwrap_or_default();
        assert!(found == text, "{path} is not current: cargo run -p quorate-crd --bin crdgen");
    }
}
