//! The changes of an object that are allowed, and the parts that the API server keeps as they were.

use serde_json::{Value, json};

use super::failure::Failure;
use super::kind::Kind;
use super::request::Part;

/// Metadata that only the API server changes.
const KEPT: [&str; 7] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The object as it becomes if a client writes `new` over `old`. Its resource version is the old
/// one.
///
/// # Errors
/// The new object is wrong, or a field that differs cannot be changed.
pub(crate) fn settle(
    kind: &Kind,
    old: &Value,
    mut new: Value,
    part: Part,
) -> Result<Value, Failure> {
    match part {
        Part::Main if kind.status.is_some() => put(&mut new, "status", &old["status"]),
        Part::Main => {}
        Part::Status => {
            let status = new["status"].take();
            new = old.clone();
            put(&mut new, "status", &status);
        }
    }
    for name in KEPT {
        put(&mut new["metadata"], name, &old["metadata"][name]);
    }
    put(&mut new["metadata"], "resourceVersion", &old["metadata"]["resourceVersion"]);
    let mut new = read(kind, new)?;
    check(kind, old, &new)?;
    if kind.has_generation && content(old) != content(&new) {
        count(&mut new);
    }
    Ok(new)
}

/// Adds one to the generation of an object.
pub(crate) fn count(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or_default();
    object["metadata"]["generation"] = json!(generation + 1);
}

/// Reads an object as its kind, which drops fields that the kind does not have.
///
/// # Errors
/// A field has a wrong type.
pub(crate) fn read(kind: &Kind, mut object: Value) -> Result<Value, Failure> {
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.name);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let refused = if kind.is_custom { Failure::invalid } else { Failure::bad_request };
    (kind.read)(object).map_err(|error| refused(error.to_string()))
}

/// Sets a field, or removes it.
fn put(object: &mut Value, name: &str, value: &Value) {
    if !value.is_null() {
        object[name] = value.clone();
    } else if let Some(fields) = object.as_object_mut() {
        fields.remove(name);
    }
}

/// The object without the parts whose changes do not count.
fn content(object: &Value) -> Value {
    let mut content = object.clone();
    put(&mut content, "metadata", &Value::Null);
    put(&mut content, "status", &Value::Null);
    content
}

fn check(kind: &Kind, old: &Value, new: &Value) -> Result<(), Failure> {
    let finalizers = |object: &Value| {
        let list = object["metadata"]["finalizers"].as_array().cloned();
        list.unwrap_or_default()
    };
    let is_deleted = !old["metadata"]["deletionTimestamp"].is_null();
    let before = finalizers(old);
    if is_deleted && finalizers(new).iter().any(|it| !before.contains(it)) {
        return Err(Failure::invalid(
            "metadata.finalizers: the object is being deleted".to_owned(),
        ));
    }
    let is_kept = match kind.plural {
        "pods" => old["spec"] == new["spec"],
        "persistentvolumeclaims" => claim(old) == claim(new),
        "secrets" => old["type"] == new["type"],
        _ => true,
    };
    if is_kept { Ok(()) } else { Err(Failure::invalid("the field cannot be changed".to_owned())) }
}

/// The fixed part of a claim's spec: all but the size.
fn claim(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    if !spec["resources"].is_null() {
        spec["resources"]["requests"] = Value::Null;
    }
    spec
}
