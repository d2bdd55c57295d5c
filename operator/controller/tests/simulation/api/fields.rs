//! The fields of objects: their paths, and the lists whose items have keys.
//!
//! Server-side apply owns single fields. A list without keys, and some maps, are one field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A step of a path: to a field of a map, or to an item of a list by its key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Step {
    Field(String),
    Item(String),
}

/// The way from an object to one of its fields.
pub(crate) type Path = Vec<Step>;

/// Maps that are one field.
const ATOMIC: [&str; 3] = ["namespaceSelector", "podSelector", "selector"];

/// The keys of the items of a list. Empty: an item is its own key. `None`: the list is one field.
fn keys(kind: &str, list: &str) -> Option<&'static [&'static str]> {
    match (kind, list) {
        (_, "finalizers") => Some(&[]),
        (_, "ownerReferences") => Some(&["uid"]),
        (_, "conditions") => Some(&["type"]),
        ("Service", "ports") => Some(&["port", "protocol"]),
        _ => None,
    }
}

fn key(keys: &[&str], item: &Value) -> String {
    if keys.is_empty() {
        return item.to_string();
    }
    let parts = keys.iter().map(|key| match &item[key] {
        Value::Null if *key == "protocol" => "\"TCP\"".to_owned(),
        part => part.to_string(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The fields of an object with their values.
pub(crate) fn leaves(kind: &str, object: &Value) -> BTreeMap<Path, Value> {
    let mut found = BTreeMap::new();
    collect(kind, "", object, &mut Path::new(), &mut found);
    found
}

fn collect(
    kind: &str,
    name: &str,
    value: &Value,
    path: &mut Path,
    found: &mut BTreeMap<Path, Value>,
) {
    let mut enter = |step, name: &str, value: &Value| {
        path.push(step);
        collect(kind, name, value, path, found);
        path.pop();
    };
    match (value, keys(kind, name)) {
        (Value::Object(map), _) if is_granular(name, map) => {
            for (name, value) in map {
                enter(Step::Field(name.clone()), name, value);
            }
        }
        (Value::Array(items), Some(keys)) => {
            for item in items {
                enter(Step::Item(key(keys, item)), "", item);
            }
        }
        (Value::Null, _) => {}
        (leaf, _) => drop(found.insert(path.clone(), leaf.clone())),
    }
}

fn is_granular(name: &str, map: &Map<String, Value>) -> bool {
    !map.is_empty() && !ATOMIC.contains(&name)
}

/// Lays `config` over `live`, field by field.
pub(crate) fn merge(kind: &str, name: &str, live: &mut Value, config: &Value) {
    match (config, keys(kind, name)) {
        (Value::Object(map), _) if is_granular(name, map) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            for (name, value) in map {
                merge(kind, name, &mut live[name], value);
            }
        }
        (Value::Array(items), Some(keys)) => {
            if !live.is_array() {
                *live = Value::Array(Vec::new());
            }
            let live = live.as_array_mut().expect("it is a list");
            for item in items {
                let wanted = key(keys, item);
                match live.iter_mut().find(|it| key(keys, it) == wanted) {
                    Some(present) => merge(kind, "", present, item),
                    None => live.push(item.clone()),
                }
            }
        }
        _ => *live = config.clone(),
    }
}

/// Removes a field, and the maps and lists that are empty without it.
pub(crate) fn remove(kind: &str, name: &str, value: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, value) {
        (Step::Field(field), Value::Object(map)) => {
            let Some(child) = map.get_mut(field) else { return };
            remove(kind, field, child, rest);
            let is_empty = match child {
                Value::Object(map) => map.is_empty(),
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            if rest.is_empty() || is_empty {
                map.remove(field);
            }
        }
        (Step::Item(wanted), Value::Array(items)) => {
            let keys = keys(kind, name).expect("a list with keys");
            let Some(at) = items.iter().position(|item| key(keys, item) == *wanted) else { return };
            let is_key = |field: &str| keys.contains(&field);
            // The key goes with the last of the other fields.
            if !matches!(rest, [Step::Field(field)] if is_key(field)) {
                remove(kind, "", &mut items[at], rest);
            }
            let mut fields = items[at].as_object().into_iter().flat_map(Map::keys);
            if fields.all(|field| is_key(field)) {
                items.remove(at);
            }
        }
        _ => {}
    }
}
