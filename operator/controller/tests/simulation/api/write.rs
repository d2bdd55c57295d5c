//! Requests and their answers.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::managers::{Manager, Managers};
use super::objects::{Key, Object, Objects};
use super::request::{Part, Request, Verb};
use super::{patch, rules, selector};

/// An answer: the HTTP status and the body.
pub(crate) type Answer = Result<(u16, Value), Failure>;

impl Objects {
    /// Answers a request.
    ///
    /// # Errors
    /// The request is refused.
    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        if request.verb == Verb::List {
            return Ok((200, self.list(request)));
        }
        let named = request.body["metadata"]["name"].as_str();
        let is_named_by_body = request.verb == Verb::Create;
        let key = Key {
            plural: request.kind.plural,
            namespace: request.namespace.clone().unwrap_or_default(),
            name: match named.filter(|_| is_named_by_body) {
                Some(name) => name.to_owned(),
                None => request.name.clone(),
            },
        };
        match request.verb {
            Verb::List => unreachable!("answered above"),
            Verb::Get => {
                let object = self.get(&key).ok_or_else(|| Failure::not_found(&key.name))?;
                Ok((200, shown(request, object)))
            }
            Verb::Create => self.create(request, &key),
            Verb::Delete => self.delete(request, &key),
            Verb::Apply => self.apply(request, &key),
            Verb::Merge => self.merge(request, &key),
        }
    }

    fn list(&self, request: &Request) -> Value {
        let unknown = ["fieldSelector", "continue", "limit"];
        assert!(unknown.iter().all(|it| !request.query.contains_key(*it)), "not known here");
        let wanted = request.query.get("labelSelector").map_or("", String::as_str);
        let objects = self.all(request.kind.plural).filter(|(key, object)| {
            let namespace = request.namespace.as_ref();
            namespace.is_none_or(|it| *it == key.namespace) && selector::matches(wanted, object)
        });
        let items: Vec<Value> = objects.map(|(_, object)| shown(request, object)).collect();
        let (kind, version) = if request.is_metadata {
            ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned())
        } else {
            (request.kind.name, request.kind.api_version())
        };
        json!({
            "kind": format!("{kind}List"),
            "apiVersion": version,
            "metadata": { "resourceVersion": self.revision().to_string() },
            "items": items,
        })
    }

    fn create(&mut self, request: &Request, key: &Key) -> Answer {
        let mut value = request.body.clone();
        if value["metadata"]["resourceVersion"].as_str().is_some_and(|it| !it.is_empty()) {
            return Err(Failure::internal("a new object has no resourceVersion".to_owned()));
        }
        if key.name.is_empty() {
            return Err(Failure::invalid("metadata.name: required".to_owned()));
        }
        if self.get(key).is_some() {
            return Err(Failure::exists(&key.name));
        }
        let kind = request.kind;
        if let Some(status) = kind.status {
            let fields = value.as_object_mut().expect("an object is a map");
            fields.remove("status");
            let status: Value = serde_json::from_str(status).expect("the table has JSON");
            if !status.is_null() {
                fields.insert("status".to_owned(), status);
            }
        }
        let value = rules::read(kind, value)?;
        let mut managers = Managers::default();
        managers.update(kind.name, &manager(request), &Value::Null, &value);
        Ok((201, self.add(kind, key, Object { value, managers })))
    }

    fn merge(&mut self, request: &Request, key: &Key) -> Answer {
        let old = self.objects.get(key).ok_or_else(|| Failure::not_found(&key.name))?;
        let mut new = old.value.clone();
        patch::merge(&mut new, &request.body);
        let metadata = &request.body["metadata"];
        if metadata["uid"].is_string() && metadata["uid"] != old.value["metadata"]["uid"] {
            return Err(Failure::invalid("metadata.uid: the field cannot be changed".to_owned()));
        }
        expect(metadata, &old.value["metadata"])?;
        let new = rules::settle(request.kind, &old.value, new, request.part)?;
        let mut managers = old.managers.clone();
        managers.update(request.kind.name, &manager(request), &old.value, &new);
        Ok((200, self.put(key, Object { value: new, managers })))
    }

    fn apply(&mut self, request: &Request, key: &Key) -> Answer {
        if !request.query.contains_key("fieldManager") {
            return Err(Failure::bad_request(
                "fieldManager is required for apply patch".to_owned(),
            ));
        }
        let (kind, by) = (request.kind, manager(request));
        let config = &request.body;
        let is_known = request.query.contains_key("force") && config["metadata"]["uid"].is_null();
        assert!(is_known, "apply without force, or with a uid, is not known here");
        let Some(old) = self.objects.get(key) else {
            if request.part == Part::Status {
                return Err(Failure::not_found(&key.name));
            }
            if !config["metadata"]["resourceVersion"].is_null() {
                return Err(Failure::conflict("the object does not exist".to_owned()));
            }
            let live = json!({ "metadata": { "name": key.name } });
            let mut managers = Managers::default();
            let value = managers.apply(kind.name, &live, &by, config);
            let created = Request { verb: Verb::Create, body: value, ..empty(request) };
            let (code, value) = self.create(&created, key)?;
            let object = self.objects.get_mut(key).expect("it was created");
            Arc::make_mut(object).managers = managers;
            return Ok((code, value));
        };
        expect(&config["metadata"], &old.value["metadata"])?;
        let mut managers = old.managers.clone();
        let new = managers.apply(kind.name, &old.value, &by, config);
        let new = rules::settle(kind, &old.value, new, request.part)?;
        Ok((200, self.put(key, Object { value: new, managers })))
    }

    /// Stores a changed object, unless it has not changed. If the object goes with the change, the
    /// answer has its last resource version.
    fn put(&mut self, key: &Key, object: Object) -> Value {
        let last = object.value["metadata"]["resourceVersion"].clone();
        if self.objects.get(key).is_some_and(|old| **old == object) {
            return object.value;
        }
        let mut value = self.store(key, object);
        if self.get(key).is_none() {
            value["metadata"]["resourceVersion"] = last;
        }
        value
    }

    fn delete(&mut self, request: &Request, key: &Key) -> Answer {
        let object = self.get(key).ok_or_else(|| Failure::not_found(&key.name))?;
        let options = &request.body;
        let policy = options["propagationPolicy"].as_str().unwrap_or("Background");
        assert_eq!(policy, "Background", "not known here");
        expect(&options["preconditions"], &object["metadata"])?;
        let uid = object["metadata"]["uid"].clone();
        let last = self.end(key, options["gracePeriodSeconds"].as_i64());
        if request.kind.returns_deleted || self.get(key).is_some() {
            return Ok((200, last));
        }
        let details = json!({ "name": key.name, "kind": key.plural, "uid": uid });
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details,
        });
        Ok((200, status))
    }

    /// Deletes an object, or marks it as being deleted if it must wait for its node or for a
    /// finalizer. Returns the object as it was last.
    pub(crate) fn end(&mut self, key: &Key, grace: Option<i64>) -> Value {
        let mut object = Object::clone(&self.objects[key]);
        let value = &mut object.value;
        let is_running = key.plural == "pods"
            && value["spec"]["nodeName"].is_string()
            && !matches!(value["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let usual = value["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let grace = if is_running { grace.unwrap_or(usual) } else { 0 };
        let metadata = &mut value["metadata"];
        let present = metadata["deletionGracePeriodSeconds"].as_i64();
        if present.is_some_and(|present| present <= grace) {
            return object.value;
        }
        let is_first = metadata["deletionTimestamp"].is_null();
        metadata["deletionTimestamp"] = self.time(grace);
        metadata["deletionGracePeriodSeconds"] = json!(grace);
        if is_first && !metadata["generation"].is_null() {
            rules::count(value);
        }
        self.store(key, object)
    }
}

/// Checks the uid and the resource version that a request expects, if it names them.
fn expect(wanted: &Value, metadata: &Value) -> Result<(), Failure> {
    for name in ["uid", "resourceVersion"] {
        let wanted = wanted[name].as_str().filter(|it| !it.is_empty());
        if wanted.is_some_and(|wanted| metadata[name] != wanted) {
            return Err(Failure::conflict(format!("the {name} is {}", metadata[name])));
        }
    }
    Ok(())
}

fn manager(request: &Request) -> Manager {
    let name = request.query.get("fieldManager").map_or("unknown", String::as_str).to_owned();
    Manager { name, applies: request.verb == Verb::Apply, part: request.part }
}

/// The request without its body and options.
fn empty(request: &Request) -> Request {
    Request {
        verb: request.verb,
        kind: request.kind,
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        part: request.part,
        query: request.query.clone(),
        is_metadata: false,
        body: Value::Null,
    }
}

/// An object, or its metadata, as the client wants it.
fn shown(request: &Request, object: &Value) -> Value {
    if !request.is_metadata {
        return object.clone();
    }
    let mut shown = Map::new();
    shown.insert("kind".to_owned(), json!("PartialObjectMetadata"));
    shown.insert("apiVersion".to_owned(), json!("meta.k8s.io/v1"));
    shown.insert("metadata".to_owned(), object["metadata"].clone());
    Value::Object(shown)
}
