//! Calls with one answer, on Quorate and on etcd.

use quorate_test_conformance::server_pair::ServerPair;
use serde_json::{Value, json};

use super::client::{Answer, ask, normalised, post};

/// Headers that must be equal.
const HEADERS: [&str; 6] = [
    "content-type",
    "grpc-metadata-content-type",
    "www-authenticate",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
];

/// Paths and bodies. The servers get them in this order.
const CALLS: &[(&str, &str)] = &[
    // The lines of etcd's manual.
    ("kv/put", r#"{"key": "Zm9v", "value": "YmFy"}"#),
    ("kv/range", r#"{"key": "Zm9v"}"#),
    ("kv/range", r#"{"key": "Zm9v", "range_end": "Zm9w"}"#),
    (
        "kv/txn",
        r#"{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"2"}],
            "success":[{"requestPut":{"key":"Zm9v","value":"YmFy"}}]}"#,
    ),
    (
        "kv/txn",
        r#"{"compare":[{"version":"4","result":"EQUAL","target":"VERSION","key":"Zm9v"}],
            "success":[{"requestRange":{"key":"Zm9v"}}]}"#,
    ),
    // The forms of values.
    ("kv/put", r#"{"key":"Zm9vMQ","value":"_-8","prev_kv":true}"#),
    ("kv/put", r#"{"key":"Zm9vMQ==","value":"/+8=","prevKv":true,"lease":"0","else":[{}]}"#),
    ("kv/put", r#"{"key":"Zm9vMg==","value":null}"#),
    ("kv/put", r#"{"key":"Zm9v","ignore_value":true,"prev_kv":true} trailing"#),
    ("kv/put", r#"{"key":"Zm9v","lease":123}"#),
    ("kv/put", r#"{"key":"Zm9v","lease":"0x1"}"#),
    ("kv/put", r#"{"key":"Zm9v","lease":1.5}"#),
    ("kv/put", r#"{"key":"***"}"#),
    ("kv/put", r#"{"key":5}"#),
    ("kv/put", r#"{"key":"Zm9v","prev_kv":"true"}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","sort_order":"DESCEND","sort_target":3}"#),
    ("kv/range", r#"{"key":"AA==","rangeEnd":"AA==","sort_order":1,"sort_target":"KEY"}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","sort_order":"SIDEWAYS"}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","limit":2}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","limit":"1","keys_only":true}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    ("kv/range", r#"{"key":"Zm9v","revision":"99"}"#),
    ("kv/range", r#"{"key":"Zm9v","revision":2.0}"#),
    ("kv/txn", r#"{"compare":[],"failure":[]}"#),
    (
        "kv/txn",
        r#"{"compare":[{"target":1,"result":"GREATER","key":"Zm9v"}],
            "success":[{"request_txn":{"success":[{"request_range":{"key":"Zm9v"}},
                {"request_delete_range":{"key":"Zm9vMg==","prev_kv":true}}]}}],
            "failure":[{"request_range":{"key":"eA=="}}]}"#,
    ),
    ("kv/txn", r#"{"success":[{}]}"#),
    ("kv/txn", r#"{"success":[{"request_range":{}}]}"#),
    ("kv/txn", r#"{"success":[{"request_range":{"key":"eA=="},"request_put":{"key":"eA=="}}]}"#),
    ("kv/deleterange", r#"{"key":"Zm9vMQ==","prev_kv":true}"#),
    ("kv/deleterange", r#"{"key":"bm9uZQ=="}"#),
    ("kv/compaction", r#"{"revision":"3","physical":true}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("kv/compaction", r#"{"revision":"99"}"#),
    ("kv/range", r#"{"key":"Zm9v","revision":"2"}"#),
    // Leases.
    ("lease/grant", r#"{"TTL":"1000","ID":"7"}"#),
    ("lease/grant", r#"{"TTL":1000,"ID":7}"#),
    ("lease/grant", r#"{"TTL":"9000000001"}"#),
    ("lease/timetolive", r#"{"ID":"-1"}"#),
    ("kv/put", r#"{"key":"bA==","lease":"7"}"#),
    ("lease/timetolive", r#"{"ID":"7","keys":true}"#),
    ("kv/lease/timetolive", r#"{"ID":8}"#),
    ("lease/leases", "{}"),
    ("kv/lease/leases", ""),
    ("lease/revoke", r#"{"ID":"7"}"#),
    ("kv/lease/revoke", r#"{"ID":"7"}"#),
    // Members.
    ("cluster/member/list", "{}"),
    ("cluster/member/list", r#"{"linearizable":true}"#),
    ("cluster/member/add", r#"{"peerURLs":["bad"]}"#),
    ("cluster/member/add", r#"{"peerURLs":[]}"#),
    ("cluster/member/add", r#"{"peerURLs":[""]}"#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:2","bad"],"isLearner":true}"#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:1"]}"#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:1"],"isLearner":true}"#),
    ("cluster/member/remove", r#"{"ID":"1"}"#),
    ("cluster/member/update", r#"{"ID":"1","peerURLs":["http://127.0.0.1:2"]}"#),
    ("cluster/member/update", r#"{"ID":"1","peerURLs":["http://127.0.0.1:1"]}"#),
    ("cluster/member/update", r#"{"ID":"1","peerURLs":["bad"]}"#),
    ("cluster/member/update", r#"{"ID":"1","peerURLs":[]}"#),
    ("cluster/member/update", r#"{"ID":"1"}"#),
    ("cluster/member/promote", r#"{"ID":"1"}"#),
    // Maintenance.
    ("maintenance/alarm", "{}"),
    ("maintenance/alarm", r#"{"action":"GET","memberID":"0","alarm":"NOSPACE"}"#),
    ("maintenance/alarm", r#"{"action":"ACTIVATE","memberID":"5","alarm":"NOSPACE"}"#),
    ("maintenance/alarm", "{}"),
    ("kv/put", r#"{"key":"Zm9v"}"#),
    ("maintenance/alarm", r#"{"action":"DEACTIVATE","memberID":"5","alarm":1}"#),
    ("maintenance/status", "{}"),
    ("maintenance/defragment", "{}"),
    ("maintenance/hash", "{}"),
    ("maintenance/hashkv", "{}"),
    ("maintenance/hashkv", r#"{"revision":"99"}"#),
    ("maintenance/transfer-leadership", r#"{"targetID":"1"}"#),
];

/// Calls of users and roles.
const AUTH_CALLS: &[(&str, &str)] = &[
    ("auth/status", "{}"),
    ("auth/enable", "{}"),
    ("auth/disable", "{}"),
    ("auth/authenticate", r#"{"name":"a","password":"b"}"#),
    ("auth/user/add", r#"{"name":"a","password":"b"}"#),
    ("auth/user/add", r#"{"name":"a","options":{"no_password":true}}"#),
    ("auth/user/add", r#"{"name":"b","options":{"noPassword":true}}"#),
    (
        "auth/user/add",
        r#"{"name":"c","password":
            "0123456789012345678901234567890123456789012345678901234567890123456789012"}"#,
    ),
    ("auth/user/changepw", r#"{"name":"a","password":"c"}"#),
    ("auth/user/changepw", r#"{"name":"a","hashedPassword":"!"}"#),
    ("auth/role/add", r#"{"name":"r"}"#),
    ("auth/role/add", "{}"),
    ("auth/role/grant", r#"{"name":"r","perm":{"permType":"READWRITE","key":"Zm9v"}}"#),
    ("auth/role/grant", r#"{"name":"r","perm":{"permType":1,"key":"Zm9v","range_end":"AA=="}}"#),
    ("auth/role/grant", r#"{"name":"r","perm":{"permType":"EXECUTE","key":"Zm9v"}}"#),
    ("auth/role/grant", r#"{"name":"r"}"#),
    ("auth/role/get", r#"{"role":"r"}"#),
    ("auth/role/list", "{}"),
    ("auth/user/grant", r#"{"user":"a","role":"r"}"#),
    ("auth/user/grant", r#"{"user":"a","role":"s"}"#),
    ("auth/user/get", r#"{"name":"a"}"#),
    ("auth/user/list", "{}"),
    ("auth/user/revoke", r#"{"name":"a","role":"r"}"#),
    ("auth/user/revoke", r#"{"name":"a","role":"r"}"#),
    ("auth/role/revoke", r#"{"role":"r","key":"Zm9v"}"#),
    ("auth/role/revoke", r#"{"role":"r","key":"Zm9v"}"#),
    ("auth/role/delete", r#"{"role":"r"}"#),
    ("auth/user/delete", r#"{"name":"a"}"#),
    ("auth/user/delete", r#"{"name":"a"}"#),
    ("auth/status", "{}"),
];

/// Methods with one request, which get bad bodies.
const METHODS: [&str; 21] = [
    "kv/range",
    "kv/put",
    "kv/deleterange",
    "kv/txn",
    "kv/compaction",
    // Before the grants: some bodies ask for leases that expire soon.
    "lease/leases",
    "lease/grant",
    "lease/revoke",
    "lease/timetolive",
    "cluster/member/add",
    "cluster/member/remove",
    "cluster/member/update",
    "cluster/member/list",
    "cluster/member/promote",
    "maintenance/alarm",
    "maintenance/status",
    "maintenance/hash",
    "maintenance/hashkv",
    "maintenance/transfer-leadership",
    "auth/user/get",
    "auth/role/grant",
];

/// Limits for the time of a call. A valid one is over at once, or long enough for any answer here.
const TIMEOUTS: [&str; 24] = [
    "",
    "5S",
    "+5S",
    "0S",
    "0n",
    "-0n",
    "-5S",
    "5",
    "S",
    "5 S",
    "5s",
    "5X",
    "1.5S",
    "1_0S",
    "1n",
    "1H",
    "1M",
    "99999m",
    "99999999u",
    "123456789S",
    "99999999999S",
    "9223372036854775807n",
    "9223372036854775807H",
    "9223372036854775808n",
];

/// An answer without the fields that differ. For malformed JSON, the texts of errors differ.
fn compared(answer: &Answer, has_own_text: bool) -> (u16, Vec<Option<&str>>, Value) {
    let mut json = answer.json();
    if answer.status != 200
        && let Some(fields) = json.as_object_mut()
    {
        if let Some(error) = fields.remove("error") {
            assert_eq!(Some(&error), fields.get("message"), "older clients read `error`");
        }
        if has_own_text {
            fields.insert("message".into(), json!("*"));
        }
    }
    let headers = HEADERS.iter().map(|name| answer.header(name)).collect();
    (answer.status, headers, normalised(json))
}

/// Sends a request to both servers. Checks that the answers are the same, and that an error of
/// Quorate has the field `error`.
fn compare(pair: &ServerPair, request: &str, headers: &str, body: &str) {
    let [ours, theirs] =
        [&pair.quorate, &pair.etcd].map(|server| ask(&server.address(), request, headers, body));
    let has_own_text = theirs.text.contains("proto:") || theirs.text.contains("invalid char");
    let [one, other] = [&ours, &theirs].map(|answer| compared(answer, has_own_text));
    assert_eq!(one, other, "{request} {headers:?} {body}\n{}\n{}", ours.text, theirs.text);
    if ours.status != 200 {
        assert_eq!(ours.json()["error"], ours.json()["message"], "{request}");
    }
}

#[test]
fn answers_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("the JSON gateway", &[]) else { return };
    for (path, body) in CALLS.iter().chain(AUTH_CALLS) {
        compare(&pair, &format!("POST /v3/{path}"), "", body);
    }
    for path in METHODS {
        for body in ["", "{}", " {\"none\":{\"a\":[1,\"}\"]}} ", "[]", "{", "{\"", "7", "null", "x"]
        {
            compare(&pair, &format!("POST /v3/{path}"), "", body);
        }
    }
    let put = r#"{"key":"Zm9v"}"#;
    compare(&pair, "POST /v3beta/kv/put", "", put);
    for timeout in TIMEOUTS {
        compare(&pair, "POST /v3/kv/range", &format!("Grpc-Timeout: {timeout}\r\n"), put);
    }
    let types = "Content-Type: text/plain\r\nAccept: text/html\r\n";
    compare(&pair, "POST /v3/kv/range", types, put);
    compare(&pair, "POST /v3/kv/range?a=b", "Origin: http://a\r\nHost: other\r\n", put);
    let metadata = "Grpc-Metadata-Hasleader: true\r\nGrpc-Metadata-Grpc-Encoding: gzip\r\n";
    compare(&pair, "POST /v3/kv/range", metadata, put);
    for request in ["GET /v3/kv/range", "PUT /v3/kv/put", "GET /v3/kv/none", "POST /v3/kv/range/"] {
        compare(&pair, request, "", "{}");
    }
    for request in ["POST /v3/", "POST /v3/KV/range", "DELETE /v3/watch", "OPTIONS /v3/kv/range"] {
        compare(&pair, request, "", "");
    }
    pair.assert_sound();
}

/// Calls for a member that exists, or that was removed. `ID` stands for its id.
const MEMBER_CALLS: &[(&str, &str)] = &[
    ("cluster/member/promote", r#"{"ID":"ID"}"#),
    ("cluster/member/update", r#"{"ID":"ID","peerURLs":["http://127.0.0.1:1"]}"#),
    ("cluster/member/update", r#"{"ID":"ID","peerURLs":["http://127.0.0.1:4"]}"#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:4"],"isLearner":true}"#),
    ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:5"],"isLearner":true}"#),
    ("cluster/member/list", "{}"),
    ("cluster/member/remove", r#"{"ID":"ID"}"#),
    ("cluster/member/list", "{}"),
    ("cluster/member/remove", r#"{"ID":"ID"}"#),
    ("cluster/member/promote", r#"{"ID":"ID"}"#),
    ("cluster/member/update", r#"{"ID":"ID","peerURLs":["http://127.0.0.1:4"]}"#),
    ("cluster/member/update", r#"{"ID":"ID"}"#),
];

/// An answer with its members in the order of their URLs. The servers order them by random ids.
fn in_order(answer: &Answer) -> (u16, Vec<Option<&str>>, Value) {
    let (status, headers, mut json) = compared(answer, false);
    if let Some(members) = json["members"].as_array_mut() {
        members.sort_by_key(|member| member["peerURLs"].to_string());
    }
    (status, headers, json)
}

#[test]
fn calls_for_a_member_are_answered_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("members as JSON", &[]) else { return };
    let servers = [&pair.quorate, &pair.etcd];
    let learner = r#"{"peerURLs":["http://127.0.0.1:3"],"isLearner":true}"#;
    let added = servers.map(|server| post(&server.address(), "cluster/member/add", learner));
    let [ours, theirs] = added.each_ref().map(in_order);
    assert_eq!(ours, theirs);
    let ids = added.map(|answer| answer.json()["member"]["ID"].as_str().unwrap().to_owned());
    for (path, body) in MEMBER_CALLS {
        let [ours, theirs] = [0, 1].map(|at| {
            let body = body.replace("\"ID\":\"ID\"", &format!("\"ID\":\"{}\"", ids[at]));
            post(&servers[at].address(), path, &body)
        });
        let [one, other] = [&ours, &theirs].map(in_order);
        assert_eq!(one, other, "{path} {body}\n{}\n{}", ours.text, theirs.text);
    }
    // Quorate's member keeps its URLs. etcd makes this change, and its other members then end.
    let address = pair.quorate.address();
    let id = post(&address, "cluster/member/list", "{}").json()["header"]["member_id"].clone();
    for urls in [json!([]), json!(["bad"])] {
        let body = json!({"ID": id, "peerURLs": urls}).to_string();
        let answer = post(&address, "cluster/member/update", &body);
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(3)), "{}", answer.text);
    }
    pair.assert_sound();
}

#[test]
fn large_requests_are_refused_as_in_etcd() {
    let Some(mut pair) = ServerPair::start("large requests as JSON", &[]) else { return };
    for length in [1_572_860 / 3 * 4, 2_097_152 / 3 * 4] {
        let body = format!("{{\"key\":\"Zm9v\",\"value\":\"{}\"}}", "A".repeat(length));
        compare(&pair, "POST /v3/kv/put", "", &body);
    }
    pair.assert_sound();
}

#[test]
fn a_large_answer_is_complete() {
    let server = super::start(&[]);
    let value = "QUJD".repeat(250_000);
    for key in 10..30 {
        let body = format!("{{\"key\":\"AA{key}\",\"value\":\"{value}\"}}");
        assert_eq!(post(&server.address(), "kv/put", &body).status, 200);
    }
    let all = r#"{"key":"AA==","range_end":"AA=="}"#;
    let answer = post(&server.address(), "kv/range", all).json();
    assert_eq!(answer["count"], "20");
    let kvs = answer["kvs"].as_array().unwrap();
    assert_eq!(kvs.len(), 20);
    assert!(kvs.iter().all(|kv| kv["value"] == value.as_str()));
    let nested = format!(r#"{{"success":[{{"request_range":{all}}}]}}"#);
    let nested = post(&server.address(), "kv/txn", &nested).json();
    assert_eq!(nested["responses"][0]["response_range"]["kvs"], answer["kvs"]);
}
