//! Web sockets, on Quorate and on etcd.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::{http, wait};
use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};

use super::client::{WITHIN, post};
use super::socket::{End, Socket};

/// The end of a connection without a close frame.
const CUT: End = End::Cut;

fn put(address: &str, key: &str) {
    let body = json!({ "key": key, "value": "MQ==" }).to_string();
    assert_eq!(post(address, "kv/put", &body).status, 200);
}

/// Messages without the fields that only older clients read, and without the texts about malformed
/// JSON, which are each server's own.
fn compared((messages, end): (Vec<Value>, End)) -> (Vec<Value>, End) {
    let compared = messages.into_iter().map(|mut message| {
        let is_stream = message["error"].is_object();
        let error = if is_stream { &mut message["error"] } else { &mut message };
        if let Some(fields) = error.as_object_mut() {
            for name in ["error", "grpc_code", "http_code", "http_status"] {
                fields.remove(name);
            }
            let text = fields.get("message").and_then(Value::as_str).unwrap_or_default();
            if text.contains("proto:") || text.contains("invalid char") {
                fields.insert("message".into(), json!("*"));
            }
        }
        message
    });
    (compared.collect(), end)
}

/// The messages that a client of a watch receives, step by step, and the end.
fn watched(address: &str) -> (Vec<Value>, End) {
    let mut socket = Socket::open(address, "watch");
    let mut said = Vec::new();
    said.push(socket.ask(r#"{"create_request":{"key":"Zm9v"}}"#));
    put(address, "Zm9v");
    said.push(socket.json());
    let second = Message::binary(r#"{"create_request":{"key":"YmFy","watch_id":7}}"#);
    said.push(socket.ask(second));
    said.push(socket.ask(r#"{"cancel_request":{"watch_id":7}}"#));
    said.push(socket.ask(r#"{"progress_request":{}}"#));
    socket.send("");
    // An object in two messages, then two objects in a message of two frames.
    socket.send(r#"{"create_request":"#);
    said.push(socket.ask(r#"{"key":"YmFy"}}"#));
    let two = r#"{"create_request":{"key":"YQ=="}} {"create_request":{"key":"Yg=="}}"#;
    let (first, second) = two.split_at(20);
    let frame = |text: &str, data, is_last| {
        Message::Frame(Frame::message(text.as_bytes().to_vec(), OpCode::Data(data), is_last))
    };
    socket.send(frame(first, Data::Text, false));
    socket.send(Message::Ping("a".into()));
    assert_eq!(socket.message(), Message::Pong("a".into()));
    socket.send(frame(second, Data::Continue, true));
    said.extend([socket.json(), socket.json()]);
    let reason = CloseFrame { code: CloseCode::Library(4000), reason: "enough".into() };
    let (rest, end) = socket.close(Some(reason));
    said.extend(rest);
    (said, end)
}

#[test]
fn watches_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("watches over web sockets", &[]) else { return };
    let [ours, theirs] = pair.both().map(|(_, server)| watched(&server.address()));
    assert_eq!(ours, theirs);
    assert_eq!((ours.0.len(), ours.1), (8, End::Close(4000, String::new())));
    // The watches have ended with the connection.
    let watchers = || http::metric(&pair.quorate.address(), "etcd_debugging_mvcc_watcher_total");
    wait::until("no watchers", WITHIN, || watchers().filter(|count| *count < 0.5));
    pair.assert_sound();
}

#[test]
fn streams_end_as_in_etcd() {
    let Some(mut pair) = ServerPair::start("ends of web sockets", &[]) else { return };
    let large = json!({ "create_request": { "key": "Zm9v".repeat(700_000) } }).to_string();
    let requests = [
        ("watch", large.as_str()),
        ("none", ""),
        ("", ""),
        ("kv/put", "{nonsense"),
        ("kv/put", r#"{"key":7}"#),
        ("lease/grant", "[]"),
    ];
    for (path, request) in requests {
        let [ours, theirs] = pair.both().map(|(_, server)| {
            let mut socket = Socket::open(&server.address(), path);
            if !request.is_empty() {
                socket.send(request);
            }
            compared(socket.rest())
        });
        assert_eq!(ours, theirs, "{path}");
        assert_eq!((ours.0.len(), ours.1), (1, CUT), "{path}");
    }
    for path in ["v3", "v3beta"] {
        let [ours, theirs] = pair.both().map(|(_, server)| {
            let opened =
                Socket::try_open(&server.address(), &format!("/{path}/lease/keepalive"), &[]);
            let (mut socket, _) = opened.unwrap();
            socket.send(r#"{"ID":"7"}"#);
            let first = socket.json();
            (first, socket.close(None))
        });
        assert_eq!(ours, theirs, "{path}");
        assert_eq!(ours.1.1, End::Close(0, String::new()));
    }
    pair.assert_sound();
}

/// etcd answers no call with one message over a web socket, because it waits for the end of the
/// request, which never comes. etcd does not say either that a message of a stream is malformed.
#[test]
fn calls_with_one_message_and_malformed_messages_are_answered() {
    let server = super::start(&[]);
    let address = server.address();
    let asked = |path: &str, request: &str| {
        let mut socket = Socket::open(&address, path);
        socket.send(request);
        let (mut messages, end) = socket.rest();
        assert_eq!((messages.len(), end), (1, CUT), "{path}: {messages:?}");
        messages.remove(0)
    };
    let value = "QUJD".repeat(100_000);
    let put = json!({ "key": "Zm9v", "value": value }).to_string();
    assert_eq!(asked("kv/put", &put)["header"]["revision"], "2");
    assert_eq!(asked("kv/range", r#"{"key":"Zm9v"}"#)["kvs"][0]["value"], value);
    assert_eq!(asked("kv/range", r#"{"key":"Zm9v"} {"key":"YQ=="}"#)["count"], "1");
    assert_eq!(asked("kv/range", "{}")["message"], "etcdserver: key is not provided");
    let large = json!({ "key": "Zm9v", "value": "QUJD".repeat(530_000) }).to_string();
    assert_eq!(asked("kv/put", &large)["message"], "etcdserver: request is too large");
    let larger = json!({ "key": "Zm9v", "value": "QUJD".repeat(3_000_000) }).to_string();
    let refused = asked("kv/put", &larger);
    assert_eq!(refused["message"], "grpc: received message larger than max (2097152)");
    assert_eq!(asked("watch", r#"{"create_request":7}"#)["error"]["code"], 3);
    // The stream of a call with one message goes on.
    let mut observer = Socket::open(&address, "election/observe");
    observer.send(r#"{"name":"ZQ=="}"#);
    let campaign = r#"{"name":"ZQ==","lease":"7","value":"djE="}"#;
    assert_eq!(post(&address, "lease/grant", r#"{"TTL":"1000","ID":"7"}"#).status, 200);
    assert!(asked("election/campaign", campaign)["leader"].is_string());
    assert_eq!(observer.json()["result"]["kv"]["value"], "djE=");
}

/// A frame of a client with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

#[test]
fn violations_of_the_protocol_are_told_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("violations on web sockets", &[]) else { return };
    let long = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], &[b'x'; 126][..]].concat();
    let violations: [Vec<u8>; 15] = [
        frame(0x83, b"x"),
        frame(0x8b, b""),
        frame(0xc1, b"x"),
        frame(0xf1, b"x"),
        frame(0x09, b"x"),
        long,
        [frame(0x01, b"{"), frame(0x01, b"}")].concat(),
        frame(0x80, b"x"),
        b"\x81\x01x".to_vec(),
        frame(0x88, b""),
        frame(0x88, b"x"),
        frame(0x88, b"\x03\xed"),
        frame(0x88, b"\x03\xf6"),
        frame(0x88, b"\x03\xe8\xff"),
        frame(0x88, b"\x0b\xb8abc"),
    ];
    for sent in violations {
        let [ours, theirs] = pair.both().map(|(_, server)| {
            let mut socket = Socket::open(&server.address(), "watch");
            socket.send_raw(&sent);
            socket.rest()
        });
        assert_eq!(ours, theirs, "{}", sent.escape_ascii());
        assert_ne!(ours.1, CUT, "{}", sent.escape_ascii());
    }
    pair.assert_sound();
}

/// The status of an answer, those of its headers that web sockets have, and its text.
fn shaken(address: &str, head: &str) -> (u16, Vec<String>, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream.write_all(format!("{head}Host: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: Vec<String> = lines[1..].iter().map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut text = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut text).unwrap();
    headers.retain(|line| {
        ["upgrade", "connection", "sec-", "content-type", "x-"]
            .iter()
            .any(|it| line.starts_with(it))
    });
    headers.sort();
    (status, headers, String::from_utf8(text).unwrap())
}

#[test]
fn handshakes_are_answered_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("handshakes of web sockets", &[]) else { return };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let all = [upgrade, version, key].concat();
    let get = |headers: &str| format!("GET /v3/watch HTTP/1.1\r\n{headers}");
    let heads = [
        get(&all),
        get(&format!("{all}Sec-WebSocket-Protocol: Bearer, a.1\r\n")),
        get(&format!("{all}Sec-WebSocket-Protocol: chat, Bearer\r\n")),
        get(&format!("{all}Origin: http://a\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")),
        get(&format!(
            "Connection: keep-alive, uPgrade\r\nUpgrade: h2c , WebSocket\r\n\
             Sec-WebSocket-Version: 8, 13\r\n{key}"
        )),
        get(&[upgrade, version].concat()),
        get(&[upgrade, key].concat()),
        get(&[upgrade, version, "Sec-WebSocket-Key: dGhlIHN\r\n"].concat()),
        get(&[upgrade, "Sec-WebSocket-Version: 8\r\n", key].concat()),
        format!("POST /v3/watch HTTP/1.1\r\n{all}Content-Length: 0\r\n"),
        format!("OPTIONS /v3/watch HTTP/1.1\r\n{all}"),
        format!("GET /v3beta/none?method=PUT HTTP/1.1\r\n{all}"),
        format!("GET /v3alpha/watch HTTP/1.1\r\n{all}"),
        format!("GET /none HTTP/1.1\r\n{all}"),
    ];
    for head in heads {
        let [ours, theirs] = pair.both().map(|(_, server)| shaken(&server.address(), &head));
        assert_eq!(ours, theirs, "{head}");
    }
    pair.assert_sound();
}
