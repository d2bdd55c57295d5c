//! Fingerprints of worlds. Two worlds with the same one go on in the same way: no part of a world
//! is random, and an operator remembers nothing between its rounds.
//!
//! Parts that nothing depends on are left out: the counts of writes, the events, and the
//! certificates, whose keys are random.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use jiff::Timestamp;
use serde_json::Value;

use super::World;

/// A number that tells a world from others.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Fingerprint(u64);

impl World {
    /// The fingerprint of the world as it is.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut print = Print::default();
        self.now().hash(&mut print.hasher);
        self.print(print)
    }

    /// The fingerprint of a world at rest. The times of its changes make no difference any more,
    /// nor do the nodes of its pods.
    pub(crate) fn fingerprint_at_rest(&self) -> Fingerprint {
        self.print(Print { is_at_rest: true, ..Print::default() })
    }

    fn print(&self, mut print: Print) -> Fingerprint {
        for (key, object) in self.objects.everything() {
            let is_place = key.plural == "nodes" && print.is_at_rest;
            if key.plural != "events" && !is_place {
                key.hash(&mut print.hasher);
                print.object(key.plural, &object.value);
                object.managers.hash(&mut print.hasher);
            }
        }
        for (uid, process) in &self.processes {
            (uid, process.serves(), process.exit, process.expires).hash(&mut print.hasher);
        }
        let nodes = (&self.lost_nodes, &self.frozen, &self.data);
        (&self.store, nodes, &self.checks.used).hash(&mut print.hasher);
        Fingerprint(print.hasher.finish())
    }
}

/// A fingerprint in the making.
#[derive(Default)]
struct Print {
    hasher: DefaultHasher,
    is_at_rest: bool,
}

impl Print {
    fn object(&mut self, plural: &str, object: &Value) {
        for (name, value) in object.as_object().into_iter().flatten() {
            match name.as_str() {
                "data" if plural == "secrets" => {}
                "metadata" => self.metadata(value),
                _ => self.field(name, value),
            }
        }
    }

    fn metadata(&mut self, metadata: &Value) {
        for (name, value) in metadata.as_object().into_iter().flatten() {
            if name != "resourceVersion" {
                self.field(name, value);
            }
        }
    }

    fn field(&mut self, name: &str, value: &Value) {
        name.hash(&mut self.hasher);
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| self.field(name, value));
            }
            Value::Array(items) => items.iter().for_each(|item| self.field("", item)),
            Value::String(text) => {
                if !self.is_at_rest || !is_incidental(name, text) {
                    text.hash(&mut self.hasher);
                }
            }
            other => other.hash(&mut self.hasher),
        }
    }
}

/// Whether a text says nothing but when or where something happened.
fn is_incidental(name: &str, text: &str) -> bool {
    let is_place = ["node", "nodeName", "podIP"].contains(&name);
    is_place || (text.ends_with('Z') && text.parse::<Timestamp>().is_ok())
}
