//! The requests of a program in the audit log of the API server, beside the rights of its roles.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;
use serde_json::Value;

/// The verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One request, as the audit log has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Request {
    /// The verb, as in `list`.
    pub verb: String,
    /// The path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// When it arrived, in UTC with microseconds, so that texts compare as times.
    pub request_received_timestamp: String,
    user: User,
    object_ref: Object,
    response_status: Response,
    annotations: Annotations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Response {
    code: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "authorization.k8s.io/decision")]
    decision: String,
}

impl Request {
    /// The resource, with the subresource if there is one, as roles name it.
    fn resource(&self) -> String {
        let Object { resource, subresource, .. } = &self.object_ref;
        if subresource.is_empty() { resource.clone() } else { format!("{resource}/{subresource}") }
    }

    /// For people.
    fn text(&self) -> String {
        format!("{} {} {}", self.request_received_timestamp, self.verb, self.uri)
    }
}

/// The requests of a user in a log with one request a line.
///
/// # Errors
/// A line is not a request.
pub fn requests(log: &str, user: &str) -> serde_json::Result<Vec<Request>> {
    let all =
        log.lines().map(serde_json::from_str).collect::<serde_json::Result<Vec<Request>>>()?;
    Ok(all.into_iter().filter(|request| request.user.username == user).collect())
}

/// The rules of a list of roles.
///
/// # Errors
/// The list has no roles of the expected form.
pub fn rules(roles: &str) -> serde_json::Result<Vec<PolicyRule>> {
    let list: Value = serde_json::from_str(roles)?;
    let roles = list["items"].as_array().cloned().unwrap_or_default();
    let rules = roles.into_iter().map(|mut role| serde_json::from_value(role["rules"].take()));
    Ok(rules.collect::<serde_json::Result<Vec<Vec<PolicyRule>>>>()?.concat())
}

/// The requests that were not allowed.
#[must_use]
pub fn denied(requests: &[Request]) -> Vec<String> {
    let denied = requests.iter().filter(|request| {
        request.annotations.decision != "allow"
            || [401, 403].contains(&request.response_status.code)
    });
    denied.map(|request| format!("denied: {}", request.text())).collect()
}

/// The rights of the rules that no request needed.
#[must_use]
pub fn unused(requests: &[Request], rules: &[PolicyRule]) -> Vec<String> {
    let used: BTreeSet<(String, String, String)> = requests
        .iter()
        .map(|request| {
            (request.verb.clone(), request.object_ref.api_group.clone(), request.resource())
        })
        .collect();
    let mut unused = BTreeSet::new();
    for rule in rules {
        for (verb, group, resource) in allowed(rule) {
            if !used.contains(&(verb.clone(), group.clone(), resource.clone())) {
                unused.insert(format!("never used: {verb} {resource} of the group \"{group}\""));
            }
        }
    }
    unused.into_iter().collect()
}

/// Every verb on every resource that a rule allows.
fn allowed(rule: &PolicyRule) -> Vec<(String, String, String)> {
    let mut allowed = Vec::new();
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                allowed.push((verb.clone(), group.clone(), resource.clone()));
            }
        }
        for path in rule.non_resource_urls.iter().flatten() {
            allowed.push((verb.clone(), String::new(), path.clone()));
        }
    }
    allowed
}

/// The writes between two times, except those that keep a Lease.
#[must_use]
pub fn writes(requests: &[Request], from: &str, to: &str) -> Vec<String> {
    let writes = requests.iter().filter(|request| {
        let time = request.request_received_timestamp.as_str();
        from <= time
            && time <= to
            && WRITES.contains(&request.verb.as_str())
            && request.object_ref.resource != "leases"
    });
    writes.map(|request| format!("written while idle: {}", request.text())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"verb":"list","requestURI":"/api/v1/pods","user":{"username":"op"},"#,
        r#""objectRef":{"resource":"pods"},"responseStatus":{"code":200},"#,
        r#""requestReceivedTimestamp":"2026-11-29T10:00:00.000000Z","#,
        r#""annotations":{"authorization.k8s.io/decision":"allow"}}"#,
        "\n",
        r#"{"verb":"patch","requestURI":"/apis/q/v1/c/status","user":{"username":"op"},"#,
        r#""objectRef":{"resource":"c","apiGroup":"q","subresource":"status"},"#,
        r#""responseStatus":{"code":403},"#,
        r#""requestReceivedTimestamp":"2026-11-29T10:00:05.000000Z","#,
        r#""annotations":{"authorization.k8s.io/decision":"forbid"}}"#,
        "\n",
        r#"{"verb":"update","requestURI":"/l","user":{"username":"op"},"#,
        r#""objectRef":{"resource":"leases","apiGroup":"coordination.k8s.io"},"#,
        r#""responseStatus":{"code":200},"#,
        r#""requestReceivedTimestamp":"2026-11-29T10:00:06.000000Z","#,
        r#""annotations":{"authorization.k8s.io/decision":"allow"}}"#,
        "\n",
        r#"{"verb":"delete","requestURI":"/api/v1/pods/x","user":{"username":"other"}}"#,
    );

    #[test]
    fn only_the_requests_of_the_user_count() {
        assert_eq!(requests(LOG, "op").unwrap().len(), 3);
        assert!(requests("no JSON", "op").is_err());
    }

    #[test]
    fn refusals_are_found() {
        let denied = denied(&requests(LOG, "op").unwrap());
        assert_eq!(denied, ["denied: 2026-11-29T10:00:05.000000Z patch /apis/q/v1/c/status"]);
    }

    #[test]
    fn each_verb_of_each_resource_must_be_used() {
        let roles = r#"{"items": [
            {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}]},
            {"rules": [{"apiGroups": ["q"], "resources": ["c/status", "c"], "verbs": ["patch"]}]}
        ]}"#;
        let unused = unused(&requests(LOG, "op").unwrap(), &rules(roles).unwrap());
        let never =
            |what: &str, group: &str| format!("never used: {what} of the group \"{group}\"");
        assert_eq!(unused, [never("delete pods", ""), never("patch c", "q")]);
    }

    #[test]
    fn writes_are_found_in_their_time_and_leases_do_not_count() {
        let requests = requests(LOG, "op").unwrap();
        assert_eq!(writes(&requests, "2026-11-29T10:00:00", "2026-11-29T10:00:09").len(), 1);
        assert!(writes(&requests, "2026-11-29T10:00:06", "2026-11-29T10:00:09").is_empty());
    }
}
