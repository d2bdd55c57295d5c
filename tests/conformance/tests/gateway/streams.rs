//! Calls with streams, on Quorate and on etcd.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use quorate_test_conformance::server_pair::ServerPair;
use serde_json::{Value, json};

use super::client::{Open, WITHIN, normalised, post};

fn open(address: &str, path: &str, body: &str) -> Open {
    Open::send(address, &format!("POST /v3/{path}"), "", body)
}

fn put(address: &str, key: &str, value: &str) {
    let body = json!({ "key": key, "value": value }).to_string();
    assert_eq!(post(address, "kv/put", &body).status, 200);
}

/// The first lines of a watch, while another client writes.
fn watched(address: &str) -> Vec<Value> {
    put(address, "Zm9v", "MQ==");
    // The body has two watches. The end of the body ends neither of them.
    let body = r#"{"create_request":{"key":"Zm9v","start_revision":"2","prev_kv":true}}
        {"createRequest":{"key":"Zm8=","rangeEnd":"Zm9w","watchId":"5","filters":["NOPUT"]}}"#;
    let mut watch = open(address, "watch", body);
    assert_eq!(watch.status, 200);
    // The order of the second answer and of the first events is not fixed.
    let mut lines: Vec<Value> = (0..3).map(|_| watch.line()).collect();
    lines.sort_by_key(|line| line["result"]["events"].is_array());
    put(address, "Zm9v", "Mg==");
    lines.push(watch.line());
    assert_eq!(post(address, "kv/deleterange", r#"{"key":"Zm9v"}"#).status, 200);
    let mut deleted = [watch.line(), watch.line()];
    deleted.sort_by_key(|line| line["result"]["watch_id"].to_string());
    lines.extend(deleted);
    lines
}

#[test]
fn watches_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("watches as JSON", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| {
        watched(&server.address()).into_iter().map(normalised).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
    // Watches that end at once.
    let compact = r#"{"revision":"3"}"#;
    let [ours, theirs] = pair.both().map(|(_, server)| {
        let address = server.address();
        assert_eq!(post(&address, "kv/compaction", compact).status, 200);
        let body = r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}
            {"create_request":{"key":"Zm9v","watch_id":"9"}}{"cancel_request":{"watch_id":"9"}}
            {"create_request":{"key":"Zm9x","range_end":"Zm9v"}}"#;
        let mut watch = open(&address, "watch", body);
        let mut lines: Vec<_> = (0..5).map(|_| normalised(watch.line())).collect();
        lines.sort_by_key(|line| {
            let result = &line["result"];
            (result["watch_id"].to_string(), result["canceled"].as_bool())
        });
        lines
    });
    assert_eq!(ours, theirs);
    pair.assert_sound();
}

#[test]
fn a_watch_ends_with_its_time_as_in_etcd() {
    let Some(mut pair) = ServerPair::start("time limits of streams as JSON", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| {
        let limit = "Grpc-Timeout: 1S\r\n";
        let body = r#"{"create_request":{"key":"Zm9v"}}"#;
        let watch = Open::send(&server.address(), "POST /v3/watch", limit, body);
        let said = watch.rest().text;
        let last = said.lines().last().unwrap_or_else(|| panic!("nothing was said"));
        let error = serde_json::from_str::<Value>(last).unwrap()["error"].take();
        // Quorate's error has more fields, for older clients.
        [error["code"].clone(), error["message"].clone()]
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours[0], 4);
    pair.assert_sound();
}

#[test]
fn keepalives_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("keepalives as JSON", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| {
        let address = server.address();
        assert_eq!(post(&address, "lease/grant", r#"{"TTL":"1000","ID":"7"}"#).status, 200);
        ["", "{}", r#"{"ID":"7"} {"ID":8}"#].map(|body| {
            let answer = post(&address, "lease/keepalive", body);
            let lines =
                answer.text.lines().map(|line| normalised(serde_json::from_str(line).unwrap()));
            (answer.status, lines.collect::<Vec<_>>())
        })
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours[2].1.len(), 2);
    pair.assert_sound();
}

/// Errors of streams have the fields of etcd's current and of its earlier gateways.
#[test]
fn errors_have_both_shapes() {
    let server = super::start(&[]);
    let answer = post(&server.address(), "watch", r#"{"create_request":7}"#);
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    let text = error["message"].as_str().unwrap();
    let wanted = json!({
        "code": 3,
        "message": text,
        "grpc_code": 3,
        "http_code": 400,
        "http_status": "Bad Request",
    });
    assert_eq!(*error, wanted);
    // After a message, the error is the last line.
    let body = r#"{"create_request":{"key":"Zm9v"}} {"create_request":[]}"#;
    let mut watch = open(&server.address(), "watch", body);
    assert_eq!(watch.status, 200);
    let mut line = watch.line();
    if line["result"]["created"] == true {
        line = watch.line();
    }
    assert_eq!(line["error"]["grpc_code"], 3, "{line}");
    assert_eq!(watch.rest().text, "");
}

/// The first chunks of an answer, without the chunks that only end a line.
fn chunks(address: &str, path: &str, body: &str, count: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let length = body.len();
    let head = format!("POST /v3/{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the answer has no body");
    }
    let mut chunks = Vec::new();
    while chunks.len() < count {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = vec![0; length + "\r\n".len()];
        reader.read_exact(&mut chunk).unwrap();
        chunks.push(String::from_utf8(chunk).unwrap());
        chunks.retain(|chunk| !chunk.trim().is_empty());
    }
    chunks
}

/// etcd3gw reads each chunk as one value.
#[test]
fn each_message_of_a_stream_is_a_chunk() {
    let Some(pair) = ServerPair::start("chunks of the gateway", &[]) else { return };
    for (name, server) in pair.both() {
        let address = server.address();
        put(&address, "Zm9v", &"QUJD".repeat(100_000));
        let watch = r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}"#;
        for chunk in chunks(&address, "watch", &watch.repeat(3), 6) {
            let is_value = serde_json::from_str::<Value>(&chunk).is_ok();
            let start: String = chunk.chars().take(200).collect();
            assert!(is_value, "{name}: {} bytes: {start}", chunk.len());
        }
    }
}
