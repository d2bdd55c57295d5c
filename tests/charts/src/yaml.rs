//! YAML as the JSON that Kubernetes makes of it.

use serde::Deserialize as _;
use serde_json::Value;

/// The documents of a text, without empty ones.
///
/// # Panics
/// If the text is not YAML.
#[track_caller]
pub fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("it is YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The value without empty texts, lists and maps in its maps, for which an API server has defaults.
#[must_use]
pub fn filled(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let pairs = map.iter().map(|(key, value)| (key.clone(), filled(value)));
    pairs.filter(|(_, value)| !is_empty(value)).collect()
}
