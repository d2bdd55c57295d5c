//! All objects of the API server, and the work of its controllers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kind::Kind;
use super::managers::Managers;
use super::rules;

/// The finalizer of claims that a pod may use.
pub(super) const CLAIM_IN_USE: &str = "kubernetes.io/pvc-protection";

/// The place of an object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) plural: &'static str,
    /// The namespace; empty for nodes.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// An object with the managers of its fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) managers: Managers,
}

/// All objects. A copy costs little: it shares the objects with the original.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(super) objects: BTreeMap<Key, Arc<Object>>,
    /// The time.
    pub(crate) now: Timestamp,
    revision: u64,
    uids: u64,
}

impl Objects {
    /// The object at a place.
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key).map(|object| &object.value)
    }

    /// All objects with their managers, in the order of their places.
    pub(crate) fn everything(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.objects.iter().map(|(key, object)| (key, object.as_ref()))
    }

    /// All objects of a kind, in the order of their names.
    pub(crate) fn all(&self, plural: &str) -> impl Iterator<Item = (&Key, &Value)> {
        let objects = self.objects.iter().filter(move |(key, _)| key.plural == plural);
        objects.map(|(key, object)| (key, &object.value))
    }

    /// The number of writes so far, as objects and lists tell it.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes an object as a component of Kubernetes does, which may change all of it.
    pub(crate) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) {
        let Some(old) = self.objects.get(key) else { return };
        let mut new = Object::clone(old);
        change(&mut new.value);
        if new.value["spec"] != old.value["spec"] && Kind::named(key.plural).has_generation {
            rules::count(&mut new.value);
        }
        if new != **old {
            self.store(key, new);
        }
    }

    /// Adds an object as a component of Kubernetes does.
    pub(crate) fn write(&mut self, key: &Key, value: Value) {
        self.store(key, Object { value, managers: Managers::default() });
    }

    /// Removes an object at once.
    pub(crate) fn remove(&mut self, key: &Key) {
        self.revision += 1;
        self.objects.remove(key);
    }

    /// Adds a new object.
    pub(super) fn add(&mut self, kind: &Kind, key: &Key, mut object: Object) -> Value {
        // One event more or less does not change the uids of the rest.
        let (series, number) = if kind.plural == "events" {
            (1, self.revision)
        } else {
            self.uids += 1;
            (0, self.uids)
        };
        let metadata = &mut object.value["metadata"];
        metadata["uid"] = json!(format!("00000000-0000-400{series}-8000-{number:012}"));
        metadata["namespace"] = json!(key.namespace);
        metadata["creationTimestamp"] = self.time(0);
        if kind.has_generation {
            metadata["generation"] = json!(1);
        }
        if kind.plural == "persistentvolumeclaims" {
            metadata["finalizers"] = json!([CLAIM_IN_USE]);
        }
        self.store(key, object)
    }

    /// Stores an object under a new resource version, or removes it if only that is left to do.
    pub(super) fn store(&mut self, key: &Key, mut object: Object) -> Value {
        self.revision += 1;
        let metadata = &mut object.value["metadata"];
        metadata["resourceVersion"] = json!(self.revision.to_string());
        let is_over = !metadata["deletionTimestamp"].is_null()
            && metadata["deletionGracePeriodSeconds"] == 0
            && metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
        let value = object.value.clone();
        if is_over {
            self.objects.remove(key);
        } else {
            self.objects.insert(key.clone(), Arc::new(object));
        }
        value
    }

    /// The time after some seconds, as objects tell it.
    pub(super) fn time(&self, seconds: i64) -> Value {
        json!(Timestamp::from_second(self.now.as_second() + seconds).unwrap().to_string())
    }

    /// Does the work that Kubernetes' controllers have to do by now: collects objects whose owners
    /// are gone, and releases deleted claims that no pod uses.
    pub(crate) fn control(&mut self) {
        while let Some(key) = self.orphan() {
            self.end(&key, None);
        }
        let used: BTreeSet<(String, String)> = self.all("pods").flat_map(claims).collect();
        let claims = self.all("persistentvolumeclaims").filter(|(key, claim)| {
            let is_used = used.contains(&(key.namespace.clone(), key.name.clone()));
            !is_used && !claim["metadata"]["deletionTimestamp"].is_null()
        });
        let unused: Vec<Key> = claims.map(|(key, _)| key.clone()).collect();
        for key in unused {
            self.edit(&key, |claim| {
                if let Some(list) = claim["metadata"]["finalizers"].as_array_mut() {
                    list.retain(|it| it != CLAIM_IN_USE);
                }
            });
        }
    }

    /// An object that is not being deleted, although none of its owners is there.
    fn orphan(&self) -> Option<Key> {
        let uids: BTreeSet<&str> = self
            .objects
            .values()
            .filter_map(|object| object.value["metadata"]["uid"].as_str())
            .collect();
        let is_orphan = |object: &Object| {
            let metadata = &object.value["metadata"];
            let owners = metadata["ownerReferences"].as_array().filter(|it| !it.is_empty());
            metadata["deletionTimestamp"].is_null()
                && owners.is_some_and(|owners| {
                    let mut uid = owners.iter().filter_map(|owner| owner["uid"].as_str());
                    !uid.any(|uid| uids.contains(uid))
                })
        };
        let found = self.objects.iter().find(|(_, object)| is_orphan(object));
        found.map(|(key, _)| key.clone())
    }
}

/// The claims that a pod uses, by namespace and name.
fn claims((key, pod): (&Key, &Value)) -> Vec<(String, String)> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claims = volumes.filter_map(|it| it["persistentVolumeClaim"]["claimName"].as_str());
    claims.map(|claim| (key.namespace.clone(), claim.to_owned())).collect()
}
