//! A schema of values, made of the schema of a custom resource.

use serde_json::{Map, Value, json};

/// The schema of the spec in a CustomResourceDefinition of one version.
#[must_use]
pub fn of_spec(definition: &Value) -> Value {
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The schema as plain JSON Schema that refuses unknown fields. Fields without a default may also
/// be empty, because a chart's values name all fields and leave out the empty ones.
#[must_use]
pub fn strict(schema: &Value) -> Value {
    convert(schema, true)
}

/// The items of a list are passed on as they are, so that nothing in them may be empty.
fn convert(schema: &Value, may_be_empty: bool) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    let mut converted = Map::new();
    for (key, value) in schema {
        let value = match key.as_str() {
            "properties" => properties(schema, value, may_be_empty),
            "additionalProperties" => convert(value, false),
            "items" => convert(value, false),
            "nullable" | "format" => continue,
            _ if key.starts_with("x-kubernetes-") => continue,
            _ => value.clone(),
        };
        converted.insert(key.clone(), value);
    }
    if schema.contains_key("properties") {
        converted.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Value::Object(converted)
}

/// The default of the schema: its own, or made of those of its properties.
#[must_use]
pub fn default_of(schema: &Value) -> Value {
    let own = schema.get("default");
    if let Some(scalar) = own.filter(|own| !own.is_object()) {
        return scalar.clone();
    }
    let Some(properties) = schema["properties"].as_object() else {
        return own.cloned().unwrap_or(Value::Null);
    };
    let pairs = properties.iter().map(|(name, property)| {
        let inherited = own.and_then(|own| own.get(name));
        (name.clone(), inherited.cloned().unwrap_or_else(|| default_of(property)))
    });
    pairs.collect()
}

fn properties(schema: &Map<String, Value>, properties: &Value, may_be_empty: bool) -> Value {
    let is_required = |name: &str| {
        let required = schema.get("required").and_then(Value::as_array);
        required.is_some_and(|required| required.iter().any(|other| other == name))
    };
    let Value::Object(properties) = properties else { return properties.clone() };
    let pairs = properties.iter().map(|(name, property)| {
        let has_default = property.get("default").is_some();
        let property = convert(property, may_be_empty);
        let is_optional = may_be_empty && !has_default && !is_required(name);
        (name.clone(), if is_optional { or_empty(property) } else { property })
    });
    pairs.collect()
}

fn or_empty(schema: Value) -> Value {
    let empty = match schema["type"].as_str() {
        Some("string") => json!({ "const": "" }),
        Some("object") if schema.get("required").is_some() => json!({ "maxProperties": 0 }),
        _ => return schema,
    };
    json!({ "anyOf": [empty, schema] })
}
