//! The rules of the resources, each with an object that it admits and one that it refuses.

use serde_json::{Value, json};

/// A rule, as the API server has it.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The resource, as in `quorateclusters.quorate.dev`.
    kind: String,
    /// The field that it is a rule of.
    path: String,
    /// The text of a refusal.
    message: String,
}

/// A rule's test.
pub(crate) struct Case {
    pub(crate) kind: &'static str,
    pub(crate) path: &'static str,
    /// The beginning of the text of a refusal.
    pub(crate) message: &'static str,
    /// The change of the object, for a rule of changes.
    pub(crate) old: Option<Value>,
    pub(crate) accepted: Value,
    pub(crate) refused: Value,
}

impl Case {
    /// Whether the case tests this rule.
    pub(crate) fn is_of(&self, rule: &Rule) -> bool {
        (self.kind, self.path) == (&rule.kind, &rule.path) && rule.message.starts_with(self.message)
    }

    /// The smallest object of the kind, with `part` merged into it.
    pub(crate) fn object(&self, part: &Value) -> Value {
        if self.kind == CLUSTER { cluster(part) } else { member(part) }
    }

    /// The name of the smallest object.
    pub(crate) fn name(&self) -> String {
        self.object(&json!({}))["metadata"]["name"].as_str().unwrap_or_default().to_owned()
    }
}

const CLUSTER: &str = "quorateclusters.quorate.dev";
const MEMBER: &str = "quoratemembers.quorate.dev";

/// A cluster called `main` with `part` merged into it.
pub(crate) fn cluster(part: &Value) -> Value {
    merged(
        json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "QuorateCluster",
            "metadata": { "name": "main" }, "spec": {},
        }),
        part,
    )
}

fn member(part: &Value) -> Value {
    merged(
        json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "QuorateMember",
            "metadata": { "name": "main-1" },
            "spec": { "cluster": "main", "number": 1, "founds": false },
        }),
        part,
    )
}

fn merged(mut object: Value, part: &Value) -> Value {
    for (name, value) in part.as_object().into_iter().flatten() {
        let old = object[name].take();
        object[name] = if value.is_object() { merged(old, value) } else { value.clone() };
    }
    object
}

/// All rules of a resource definition.
pub(crate) fn of(definition: &Value) -> Vec<Rule> {
    let kind = definition["metadata"]["name"].as_str().unwrap_or_default();
    let mut rules = Vec::new();
    for version in definition["spec"]["versions"].as_array().into_iter().flatten() {
        collect(kind, "", &version["schema"]["openAPIV3Schema"], &mut rules);
    }
    rules
}

fn collect(kind: &str, path: &str, schema: &Value, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap_or_default().to_owned();
        rules.push(Rule { kind: kind.to_owned(), path: path.to_owned(), message });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        collect(kind, &format!("{path}{dot}{name}"), property, rules);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            collect(kind, &format!("{path}[]"), &schema[inner], rules);
        }
    }
}

/// A case of a rule that every object is checked against.
fn always(
    kind: &'static str,
    path: &'static str,
    message: &'static str,
    accepted: Value,
    refused: Value,
) -> Case {
    Case { kind, path, message, old: None, accepted, refused }
}

/// A case of a rule that changes of an object are checked against.
fn change(
    kind: &'static str,
    path: &'static str,
    message: &'static str,
    [old, accepted, refused]: [Value; 3],
) -> Case {
    Case { kind, path, message, old: Some(old), accepted, refused }
}

/// A case of a rule of a cluster's spec.
fn spec(path: &'static str, message: &'static str, accepted: Value, refused: Value) -> Case {
    always(CLUSTER, path, message, json!({ "spec": accepted }), json!({ "spec": refused }))
}

/// One case at least for each rule.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        cluster_cases(),
        version_cases(),
        tls_cases(),
        settings_cases(),
        flag_cases(),
        pod_cases(),
        placement_cases(),
        change_cases(),
        member_cases(),
    ];
    cases.into_iter().flatten().collect()
}

fn cluster_cases() -> Vec<Case> {
    let named = |name: &str| json!({ "metadata": { "name": name } });
    let client = |name: &str| json!({ "clients": [{ "name": name }] });
    vec![
        always(
            CLUSTER,
            "",
            "metadata.name must have at most 40 characters",
            named(&"a".repeat(40)),
            named(&"a".repeat(41)),
        ),
        always(CLUSTER, "", "metadata.name must not end in", named("clients"), named("a-client")),
        spec(
            "spec.members",
            "members must be odd",
            json!({ "members": 7 }),
            json!({ "members": 4 }),
        ),
        spec(
            "spec",
            "version is required with image",
            json!({ "image": "registry.example/quorate:0.1.0", "version": "0.1.0" }),
            json!({ "image": "registry.example/quorate:0.1.0" }),
        ),
        spec(
            "spec.progressDeadline",
            "must be a span of time",
            json!({ "progressDeadline": "1h30m" }),
            json!({ "progressDeadline": "1.5h" }),
        ),
        spec(
            "spec.repair.replaceAfter",
            "must be a span of time",
            json!({ "repair": { "replaceAfter": "10s" } }),
            json!({ "repair": { "replaceAfter": "9s" } }),
        ),
        spec("spec.clients[].name", "a client's name must be of", client("app"), client("App")),
        spec("spec.clients[].name", "a client's name must not be ca", client("cab"), client("ca")),
    ]
}

fn version_cases() -> Vec<Case> {
    let image = |accepted: &str, refused: &str| {
        let of = |image: &str| json!({ "version": "0.1.0", "image": image });
        spec("spec.image", "image must be a name in lower case", of(accepted), of(refused))
    };
    vec![
        spec(
            "spec.version",
            "version must be three numbers",
            json!({ "version": "0.2.0-rc.1" }),
            json!({ "version": "v0.2.0" }),
        ),
        spec(
            "spec.version",
            "version must be three numbers",
            json!({ "version": "10.20.30" }),
            json!({ "version": "0.2.0-rc." }),
        ),
        image(&format!("a:5000/b@sha256:{}", "0".repeat(64)), "a:5000/b"),
        image("[::1]:5000/a/b__c.d:v1.2", "https://a/b:1"),
        image("localhost/quorate:0.1.0", "localhost/Quorate:0.1.0"),
    ]
}

fn tls_cases() -> Vec<Case> {
    let extra = |name: &str| json!({ "tls": { "extraNames": ["10.0.0.1", name] } });
    vec![
        spec(
            "spec.tls.lifetime",
            "must be a span of time",
            json!({ "tls": { "lifetime": "87600h" } }),
            json!({ "tls": { "lifetime": "87601h" } }),
        ),
        spec(
            "spec.tls.extraNames",
            "tls.extraNames must be host names",
            extra("*.example.com"),
            extra("https://example.com"),
        ),
        spec(
            "spec.tls.extraNames",
            "tls.extraNames must be host names",
            extra(&format!("{}.example.com", "a".repeat(63))),
            extra(&format!("{}.example.com", "a".repeat(64))),
        ),
        spec(
            "spec.tls.extraNames",
            "tls.extraNames must be host names",
            extra("2001:db8::1"),
            extra("999.1.1.1"),
        ),
        spec(
            "spec.tls.extraNames",
            "tls.extraNames must be host names",
            extra("a-1.example.com"),
            extra("a.*.example.com"),
        ),
        spec(
            "spec.tls.lifetime",
            "tls.lifetime must be at least 2m",
            json!({ "tls": { "lifetime": "2m" } }),
            json!({ "tls": { "lifetime": "1m59s" } }),
        ),
    ]
}

fn settings_cases() -> Vec<Case> {
    let sized = |quota: &str| json!({ "settings": { "quota": quota } });
    let keeping = |mode: &str, retention: &str| {
        let compaction = json!({ "mode": mode, "retention": retention });
        json!({ "settings": { "compaction": compaction } })
    };
    let storage = |size: &str| json!({ "storage": { "size": size } });
    vec![
        spec("spec", "settings.quota must leave room", sized("4864Mi"), sized("4865Mi")),
        spec("spec.settings.quota", "must be an amount of bytes", sized("500M"), sized("1.5Gi")),
        spec(
            "spec.settings.quota",
            "settings.quota must be at least",
            sized("16Mi"),
            sized("15Mi"),
        ),
        spec(
            "spec.settings.compaction",
            "compaction.retention must be a span of time",
            keeping("Periodic", "5m"),
            keeping("Periodic", "10000"),
        ),
        spec(
            "spec.settings.compaction",
            "compaction.retention must be a number",
            keeping("Revision", "10000"),
            keeping("Revision", "5m"),
        ),
        spec(
            "spec.settings.compaction",
            "compaction.retention must be a number",
            keeping("Revision", &"9".repeat(15)),
            keeping("Revision", &"9".repeat(16)),
        ),
        spec(
            "spec.storage.className",
            "storage.className must be the name",
            json!({ "storage": { "className": "fast.example.com" } }),
            json!({ "storage": { "className": "Fast Disk" } }),
        ),
        spec("spec.storage.size", "must be an amount of bytes", storage("20Gi"), storage("20GB")),
        spec("spec.storage.size", "storage.size must be at least", storage("1Gi"), storage("1G")),
    ]
}

fn flag_cases() -> Vec<Case> {
    let flag = |name: &str, value: &str| json!({ "settings": { "flags": { name: value } } });
    vec![
        spec(
            "spec.settings.flags",
            "settings.flags may have",
            flag("feature-gates", "CompactHashCheck=true"),
            flag("data-dir", "/data"),
        ),
        spec(
            "spec.settings.flags",
            "settings.flags must have a number",
            flag("memory-budget", "4294967296"),
            flag("memory-budget", "4Gi"),
        ),
        spec(
            "spec.settings.flags",
            "settings.flags must have a number",
            flag("election-timeout", "2500"),
            flag("election-timeout", "-1"),
        ),
        spec(
            "spec.settings.flags",
            "settings.flags must have a span of time",
            flag("grpc-keepalive-interval", "1h1.5s"),
            flag("grpc-keepalive-interval", "10"),
        ),
        spec(
            "spec.settings.flags",
            "settings.flags must have debug",
            flag("log-level", "warn"),
            flag("log-level", "loud"),
        ),
        spec(
            "spec.settings.flags",
            "settings.flags must have TLS1.2",
            flag("tls-min-version", "TLS1.3"),
            flag("tls-min-version", "1.3"),
        ),
    ]
}

fn pod_cases() -> Vec<Case> {
    let amounts = |requests: &str, limits: &str| {
        let memory = |amount: &str| json!({ "memory": amount });
        json!({ "resources": { "requests": memory(requests), "limits": memory(limits) } })
    };
    let selected = |value: &str| json!({ "placement": { "nodeSelector": { "a.b/disk": value } } });
    let labelled = |key: &str| json!({ "pod": { "labels": { key: "1" } } });
    let noted = |key: &str| json!({ "pod": { "annotations": { key: "any text" } } });
    let reached = |value: &str| json!({ "networkPolicy": { "clients": [{ "app": value }] } });
    let labels = "must be labels";
    let of_amounts = "must be amounts of resources";
    vec![
        spec(
            "spec.resources",
            "resources.requests must not",
            amounts("1G", "1G"),
            amounts("1Gi", "1G"),
        ),
        spec(
            "spec.resources.requests",
            "resources may have cpu",
            amounts("1G", "1G"),
            json!({ "resources": { "requests": { "hugepages-2Mi": "2Mi" } } }),
        ),
        spec(
            "spec.resources.limits",
            "resources may have cpu",
            amounts("1G", "1G"),
            json!({ "resources": { "limits": { "example.com/gpu": "1" } } }),
        ),
        spec("spec.resources.requests", of_amounts, amounts("1G", "1G"), amounts("1 G", "1G")),
        spec("spec.resources.limits", of_amounts, amounts("1G", "2G"), amounts("1G", "-1G")),
        spec("spec.placement.nodeSelector", labels, selected("fast"), selected("very fast")),
        spec("spec.pod.labels", labels, labelled("example.com/team"), labelled("a/b/c")),
        spec("spec.pod.annotations", "must be annotations", noted("Team"), noted("a team")),
        spec("spec.networkPolicy.clients[]", labels, reached("api"), reached("-api")),
    ]
}

fn placement_cases() -> Vec<Case> {
    let tolerated = |toleration: Value| json!({ "placement": { "tolerations": [toleration] } });
    vec![
        spec(
            "spec.placement.tolerations[]",
            "operator must be Exists",
            tolerated(json!({ "operator": "Exists" })),
            tolerated(json!({ "operator": "Equal" })),
        ),
        spec(
            "spec.placement.tolerations[]",
            "value must be left out",
            tolerated(json!({ "key": "disk", "operator": "Equal", "value": "fast" })),
            tolerated(json!({ "key": "disk", "operator": "Exists", "value": "fast" })),
        ),
        spec(
            "spec.placement.tolerations[]",
            "effect must be NoExecute",
            tolerated(json!({ "key": "disk", "effect": "NoExecute", "tolerationSeconds": 60 })),
            tolerated(json!({ "key": "disk", "effect": "NoSchedule", "tolerationSeconds": 60 })),
        ),
        spec(
            "spec.placement.tolerations[]",
            "key must be the key of a taint",
            tolerated(json!({ "key": "example.com/disk", "operator": "Exists" })),
            tolerated(json!({ "key": "a disk", "operator": "Exists" })),
        ),
        spec(
            "spec.placement.tolerations[]",
            "value must be at most",
            tolerated(json!({ "key": "disk", "value": "very_fast" })),
            tolerated(json!({ "key": "disk", "value": "very fast" })),
        ),
        spec(
            "spec.placement.priorityClassName",
            "placement.priorityClassName must be",
            json!({ "placement": { "priorityClassName": "system-cluster-critical" } }),
            json!({ "placement": { "priorityClassName": "Very High" } }),
        ),
    ]
}

fn change_cases() -> Vec<Case> {
    let sized = |size: &str| json!({ "spec": { "storage": { "size": size } } });
    let of_class = |class: &str| json!({ "spec": { "storage": { "className": class } } });
    let known = |id: &str| json!({ "status": { "clusterId": id } });
    let next = |number: i64| json!({ "status": { "nextMember": number } });
    vec![
        change(
            CLUSTER,
            "spec.storage.size",
            "storage.size cannot shrink",
            [sized("10Gi"), sized("11Gi"), sized("10239Mi")],
        ),
        change(
            CLUSTER,
            "spec.storage",
            "storage.className cannot be changed",
            [of_class("fast"), sized("20Gi"), of_class("slow")],
        ),
        change(
            CLUSTER,
            "",
            "status cannot be removed",
            [known("1f"), next(1), json!({ "status": null })],
        ),
        change(
            CLUSTER,
            "status",
            "clusterId cannot be changed",
            [known("1f"), next(1), known("2f")],
        ),
        change(CLUSTER, "status", "nextMember cannot decrease", [next(4), next(5), next(3)]),
    ]
}

fn member_cases() -> Vec<Case> {
    let known = |id: &str| json!({ "status": { "memberId": id } });
    let ready = json!({ "status": { "phase": "Ready" } });
    let founding = |founds: bool| json!({ "spec": { "founds": founds } });
    let named = |name: &str| json!({ "metadata": { "name": name } });
    vec![
        always(
            MEMBER,
            "",
            "metadata.name must be the name of the cluster",
            named("main-1"),
            named("main-2"),
        ),
        change(
            MEMBER,
            "spec",
            "the spec of a member cannot be changed",
            [founding(false), founding(false), founding(true)],
        ),
        change(MEMBER, "status", "memberId cannot be changed", [known("a"), ready, known("b")]),
    ]
}
