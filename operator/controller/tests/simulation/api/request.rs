//! A request, read from HTTP.

use std::collections::BTreeMap;

use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::failure::Failure;
use super::kind::Kind;

/// The verb of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Get,
    List,
    Create,
    Merge,
    Apply,
    Delete,
}

/// The part of an object that a request is about.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    Main,
    Status,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) verb: Verb,
    pub(crate) kind: &'static Kind,
    /// The namespace; `None` for all.
    pub(crate) namespace: Option<String>,
    /// The object's name; empty for lists and creations.
    pub(crate) name: String,
    pub(crate) part: Part,
    pub(crate) query: BTreeMap<String, String>,
    /// Whether the client wants nothing but the metadata.
    pub(crate) is_metadata: bool,
    pub(crate) body: Value,
}

impl Request {
    /// A request with a body and no options.
    pub(crate) fn new(verb: Verb, plural: &str, namespace: &str, body: Value) -> Self {
        Self {
            verb,
            kind: Kind::named(plural),
            namespace: Some(namespace.to_owned()),
            name: String::new(),
            part: Part::Main,
            query: BTreeMap::new(),
            is_metadata: false,
            body,
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// The kind does not exist, or the body is not JSON.
    ///
    /// # Panics
    /// At requests that are not known here.
    pub(crate) fn read(parts: &Parts, body: &[u8]) -> Result<Self, Failure> {
        let path = parts.uri.path();
        let mut words = path.split('/').filter(|word| !word.is_empty());
        let mut word = || words.next().unwrap_or_default();
        let group = if word() == "api" { "" } else { word() };
        let version = word();
        let (namespace, plural) = match word() {
            "namespaces" => (Some(word().to_owned()), word()),
            plural => (None, plural),
        };
        let kind = Kind::of(group, version, plural).ok_or_else(|| Failure::not_found(path))?;
        let name = word().to_owned();
        let part = match word() {
            "" => Part::Main,
            "status" => Part::Status,
            other => panic!("the part {other:?} of objects is not known here"),
        };
        let query = query(parts.uri.query().unwrap_or_default());
        assert!(!query.contains_key("watch"), "watches are not known here");
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?
        };
        let accept = parts.headers.get(http::header::ACCEPT).and_then(|it| it.to_str().ok());
        let is_metadata = accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
        let verb = verb(parts, name.is_empty());
        Ok(Self { verb, kind, namespace, name, part, query, is_metadata, body })
    }

    /// The request for a person: verb, kind and name.
    pub(crate) fn text(&self) -> String {
        let Self { verb, kind, name, part, .. } = self;
        let name = self.body["metadata"]["name"].as_str().unwrap_or(name);
        let part = if *part == Part::Main { String::new() } else { format!("/{part:?}") };
        format!("{verb:?} {}{part} {name}", kind.name)
    }

    /// Whether the request changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.verb, Verb::Get | Verb::List)
    }
}

fn verb(parts: &Parts, is_collection: bool) -> Verb {
    let kind = parts.headers.get(http::header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    match (parts.method.as_str(), kind.unwrap_or_default()) {
        ("GET", _) if is_collection => Verb::List,
        ("GET", _) => Verb::Get,
        ("POST", _) if is_collection => Verb::Create,
        ("PATCH", "application/merge-patch+json") => Verb::Merge,
        ("PATCH", "application/apply-patch+yaml") => Verb::Apply,
        ("DELETE", _) if !is_collection => Verb::Delete,
        (method, kind) => panic!("{method} with {kind:?} is not known here"),
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().expect("queries are UTF-8").into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
