//! Elections and locks as JSON, on Quorate and on etcd, which have the same ids.

use quorate_test_conformance::server_pair::ServerPair;
use serde_json::{Value, json};

use super::client::{Open, post};

/// Calls in this order. `KEY` stands for the key that the last campaign or lock has given.
const CALLS: &[(&str, &str)] = &[
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("election/leader", "{}"),
    ("election/campaign", r#"{"name":"ZQ==","lease":"8","value":"djE="}"#),
    ("election/campaign", r#"{"name":"ZQ==","lease":"7","value":"djE="}"#),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("election/proclaim", r#"{"leader":{"name":"ZQ==","key":"KEY","rev":"3","lease":"7"}}"#),
    (
        "election/proclaim",
        r#"{"leader":{"name":"ZQ==","key":"KEY","rev":"2","lease":"7"},"value":"djI="}"#,
    ),
    ("election/proclaim", r#"{"value":"djI="}"#),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("election/resign", r#"{"leader":{"name":"ZQ==","key":"KEY","rev":"2","lease":"7"}}"#),
    ("election/resign", "{}"),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("lock/lock", r#"{"name":"bA==","lease":"8"}"#),
    ("lock/lock", r#"{"name":"bA==","lease":"7"}"#),
    ("lock/lock", r#"{"name":"bA==","lease":"7"}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA=="}"#),
    ("lock/unlock", r#"{"key":"KEY"}"#),
    ("lock/unlock", r#"{"key":"KEY"}"#),
    ("lock/unlock", "{}"),
    ("kv/range", r#"{"key":"AA==","range_end":"AA=="}"#),
];

/// The status and the fields of all answers.
fn answers(address: &str) -> Vec<(u16, Value)> {
    assert_eq!(post(address, "lease/grant", r#"{"TTL":"1000","ID":"7"}"#).status, 200);
    let mut key = String::new();
    let mut answers = Vec::new();
    for (path, body) in CALLS {
        let answer = post(address, path, &body.replace("KEY", &key));
        let mut json = answer.json();
        let given = [&json["leader"]["key"], &json["key"]];
        if let Some(given) = given.into_iter().find_map(Value::as_str) {
            given.clone_into(&mut key);
        }
        if answer.status != 200 {
            // Only for clients of older gateways.
            json.as_object_mut().unwrap().remove("error");
        }
        answers.push((answer.status, json));
    }
    answers
}

#[test]
fn elections_and_locks_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("elections and locks as JSON", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| answers(&server.address()));
    for (call, (ours, theirs)) in CALLS.iter().zip(ours.iter().zip(&theirs)) {
        assert_eq!(ours, theirs, "{call:?}");
    }
    assert!(ours.iter().filter(|(status, _)| *status == 200).count() > CALLS.len() / 2);
    pair.assert_sound();
}

/// The messages to an observer while the leader proclaims a value.
fn observed(address: &str) -> Vec<Value> {
    assert_eq!(post(address, "lease/grant", r#"{"TTL":"1000","ID":"7"}"#).status, 200);
    let campaign = r#"{"name":"ZQ==","lease":"7","value":"djE="}"#;
    let leader = post(address, "election/campaign", campaign).json()["leader"].clone();
    let body = r#"{"name":"ZQ=="}"#;
    let mut observer = Open::send(address, "POST /v3/election/observe", "", body);
    assert_eq!(observer.status, 200);
    let first = observer.line();
    let proclaim = json!({ "leader": leader, "value": "djI=" }).to_string();
    assert_eq!(post(address, "election/proclaim", &proclaim).status, 200);
    vec![first, observer.line()]
}

#[test]
fn observers_of_elections_are_told_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("observers as JSON", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| observed(&server.address()));
    assert_eq!(ours, theirs);
    pair.assert_sound();
}
