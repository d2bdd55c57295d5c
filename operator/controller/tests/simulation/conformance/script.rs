//! Runs the commands of a script.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use goldenscript::{Command, Context, Runner};
use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::api::Kind;

/// How long an object may take to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// An API server under a script.
pub(super) struct Script {
    runtime: Runtime,
    client: Client,
    /// Lets the controllers do their work.
    control: Box<dyn Fn()>,
    /// The uid and the resource versions of each object, by its name.
    seen: BTreeMap<String, (String, Vec<String>)>,
}

/// A command, read.
struct Order {
    kind: &'static Kind,
    /// The part of a path after the kind.
    part: String,
    name: String,
    body: Value,
    by: String,
    is_metadata: bool,
    show: Vec<String>,
}

impl Script {
    pub(super) fn new(runtime: Runtime, client: Client, control: Box<dyn Fn()>) -> Self {
        Self { runtime, client, control, seen: BTreeMap::new() }
    }

    fn read(&self, command: &Command) -> Result<Order, Box<dyn Error>> {
        let mut args = command.consume_args();
        let words = args.next_pos().ok_or("a kind")?;
        let (plural, part) = words.split_once('/').unwrap_or((words, ""));
        let mut positional = || args.next_pos().map(str::to_owned);
        let name = positional().unwrap_or_default();
        let mut text = positional().unwrap_or_else(|| "null".to_owned());
        for (name, (uid, versions)) in &self.seen {
            text = text.replace(&format!("${name}.uid"), uid);
            for (at, version) in versions.iter().enumerate().rev() {
                text = text.replace(&format!("${name}.{}", at + 1), version);
            }
        }
        let by = args.take_key("by").unwrap_or("script").to_owned();
        let shown = args.take_key("show").unwrap_or_default();
        let show = shown.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let is_metadata = args.take_key("metadata").is_some();
        args.reject_next()?;
        let (kind, part) = (Kind::named(plural), format!("/{part}"));
        let body = serde_json::from_str(&text)?;
        let part = part.trim_end_matches('/').to_owned();
        Ok(Order { kind, part, name, body, by, is_metadata, show })
    }

    /// Sends a request. Returns the HTTP status and the body.
    fn send(&self, verb: &str, order: &Order) -> Result<(u16, Value), Box<dyn Error>> {
        let Order { kind, part, name, body, by, is_metadata, .. } = order;
        let root = if kind.group.is_empty() { "api" } else { "apis" };
        let collection =
            format!("/{root}/{}/namespaces/default/{}", kind.api_version(), kind.plural);
        let object = format!("{collection}/{name}{part}");
        let patch = format!("{object}?fieldManager={by}");
        let (method, path, content) = match verb {
            "create" => ("POST", format!("{collection}?fieldManager={by}"), "application/json"),
            "apply" => ("PATCH", format!("{patch}&force=true"), "application/apply-patch+yaml"),
            "merge" => ("PATCH", patch, "application/merge-patch+json"),
            "delete" => ("DELETE", object, "application/json"),
            "list" => ("GET", format!("{collection}?labelSelector={name}"), "application/json"),
            _ => ("GET", object, "application/json"),
        };
        let (one, many) = ("PartialObjectMetadata", "PartialObjectMetadataList");
        let wanted = if verb == "list" { many } else { one };
        let accept = if *is_metadata {
            format!("application/json;as={wanted};g=meta.k8s.io;v=v1")
        } else {
            "application/json".to_owned()
        };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .header("accept", accept)
            .body(Body::from(body))?;
        self.runtime.block_on(async {
            let response = self.client.send(request).await?;
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            Ok((code, serde_json::from_slice(&body)?))
        })
    }

    /// The facts about an object.
    fn object(&mut self, object: &Value) -> String {
        let metadata = &object["metadata"];
        let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let (_, versions) =
            self.seen.entry(text("name")).or_insert_with(|| (text("uid"), Vec::new()));
        let version = text("resourceVersion");
        let mut facts = Vec::new();
        if versions.contains(&version) {
            facts.push("known".to_owned());
        } else {
            versions.push(version);
            facts.push("new".to_owned());
        }
        for (name, field) in [
            ("generation", "generation"),
            ("finalizers", "finalizers"),
            ("grace", "deletionGracePeriodSeconds"),
        ] {
            if !metadata[field].is_null() {
                facts.push(format!("{name}={}", metadata[field]));
            }
        }
        facts.join(" ")
    }

    fn gone(&self, order: &Order) -> Result<String, Box<dyn Error>> {
        let start = Instant::now();
        loop {
            (self.control)();
            if self.send("get", order)?.0 == 404 {
                return Ok("gone".to_owned());
            }
            if start.elapsed() > PATIENCE {
                return Err("it is still there".into());
            }
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
        }
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut order = self.read(command)?;
        let verb = command.name.as_str();
        if verb == "gone" {
            return self.gone(&order);
        }
        if ["create", "apply"].contains(&verb) {
            let mut body = if order.body.is_null() { json!({}) } else { order.body };
            body["apiVersion"] = json!(order.kind.api_version());
            body["kind"] = json!(order.kind.name);
            body["metadata"]["name"] = json!(order.name);
            order.body = body;
        }
        let (code, answer) = self.send(verb, &order)?;
        let facts = if answer["kind"] == "Status" {
            let reason = answer["reason"].as_str().or_else(|| answer["status"].as_str());
            reason.unwrap_or_default().to_owned()
        } else if let Some(items) = answer["items"].as_array() {
            let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
            names.collect::<Vec<_>>().join(" ")
        } else {
            self.object(&answer)
        };
        let shown = order.show.iter().map(|at| {
            let part = answer.pointer(&format!("/{at}")).unwrap_or(&Value::Null);
            format!("\n  {at} {part}")
        });
        Ok(format!("{code} {facts}{}", shown.collect::<String>()))
    }
}
