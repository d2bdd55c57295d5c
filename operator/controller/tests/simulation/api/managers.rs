//! The managers of fields: server-side apply, and the ownership that other writes take.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields::{self, Path, Step};
use super::request::Part;

/// A manager of fields. One name is a manager apart for each way of writing.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) applies: bool,
    pub(crate) part: Part,
}

/// The fields of one object by manager.
#[derive(Clone, Debug, Default, Hash, PartialEq)]
pub(crate) struct Managers(BTreeMap<Manager, BTreeSet<Path>>);

impl Managers {
    /// Lays the fields of `config` over `live`, and removes those that the manager applied before
    /// and that nothing else manages. Returns the result. Fields with other values are taken from
    /// their managers.
    pub(crate) fn apply(
        &mut self,
        kind: &str,
        live: &Value,
        by: &Manager,
        config: &Value,
    ) -> Value {
        let applied = fields::leaves(kind, config);
        let applied: BTreeMap<Path, Value> =
            applied.into_iter().filter(|(path, _)| is_managed(path, by.part)).collect();
        let now = fields::leaves(kind, live);
        for (_, paths) in self.0.iter_mut().filter(|(manager, _)| *manager != by) {
            paths.retain(|path| applied.get(path).is_none_or(|new| now.get(path) == Some(new)));
        }
        let before = self.0.insert(by.clone(), applied.keys().cloned().collect());
        let mut result = live.clone();
        for path in before.unwrap_or_default() {
            if !self.0.values().any(|paths| paths.contains(&path)) {
                fields::remove(kind, "", &mut result, &path);
            }
        }
        let mut config = config.clone();
        for (path, _) in fields::leaves(kind, &config) {
            if !is_managed(&path, by.part) {
                fields::remove(kind, "", &mut config, &path);
            }
        }
        fields::merge(kind, "", &mut result, &config);
        self.0.retain(|_, paths| !paths.is_empty());
        result
    }

    /// Records that a manager has changed an object without applying. Changed fields are its own
    /// from now on.
    pub(crate) fn update(&mut self, kind: &str, by: &Manager, old: &Value, new: &Value) {
        let (old, new) = (fields::leaves(kind, old), fields::leaves(kind, new));
        let is_changed = |path: &Path| old.get(path) != new.get(path);
        for paths in self.0.values_mut() {
            paths.retain(|path| !is_changed(path));
        }
        let changed = new.keys().filter(|path| is_changed(path) && is_managed(path, by.part));
        let changed: BTreeSet<Path> = changed.cloned().collect();
        self.0.entry(by.clone()).or_default().extend(changed);
        self.0.retain(|_, paths| !paths.is_empty());
    }
}

/// Whether a field can be managed by a write to a part of the object.
fn is_managed(path: &[Step], part: Part) -> bool {
    let name = |at: usize| match path.get(at) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    match name(0) {
        "apiVersion" | "kind" => false,
        "metadata" => {
            let managed = ["labels", "annotations", "finalizers", "ownerReferences"];
            part == Part::Main && managed.contains(&name(1))
        }
        "status" => part == Part::Status,
        _ => part == Part::Main,
    }
}
