//! The clients that may open a web socket, and the memory that a client can hold with it.

use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::{http, wait};
use serde_json::{Value, json};

use super::client::{WITHIN, post};
use super::socket::{End, Socket};

const BUDGET: &str = "--memory-budget=67108864";
/// Limit of the growth of the server's resident memory.
const GROWTH_MAX: u64 = 150 << 20;
const CLIENTS: usize = 25;

/// Turns authentication on. Returns a token of root.
fn with_users(address: &str) -> String {
    for (path, body) in [
        ("auth/user/add", r#"{"name":"root","password":"root"}"#),
        ("auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("auth/enable", "{}"),
    ] {
        assert_eq!(post(address, path, body).status, 200, "{path}");
    }
    let login = post(address, "auth/authenticate", r#"{"name":"root","password":"root"}"#);
    login.json()["token"].as_str().unwrap().to_owned()
}

/// The first answer to a watch with these headers.
fn first(address: &str, headers: &[(&str, &str)]) -> Value {
    let mut socket = Socket::open_with(address, "watch", headers);
    socket.send(r#"{"create_request":{"key":"Zm9v"}}"#);
    socket.json()
}

#[test]
fn tokens_travel_as_in_etcd() {
    let flags = ["--bcrypt-cost=4"];
    let Some(mut pair) = ServerPair::start("tokens on web sockets", &flags) else { return };
    let tokens = pair.both().map(|(_, server)| with_users(&server.address()));
    let protocol = "Sec-WebSocket-Protocol";
    let headers = [
        (protocol, "Bearer, TOKEN", true),
        (protocol, "Bearer,TOKEN", true),
        (protocol, "Bearer, a.1", false),
        ("Cookie", "a=b; token=TOKEN", true),
        ("Cookie", "token=a.1", false),
        ("Authorization", "Bearer TOKEN", false),
        ("Grpc-Metadata-Token", "TOKEN", false),
    ];
    for (name, value, is_known) in headers {
        let answers = pair.both().into_iter().zip(&tokens).map(|((_, server), token)| {
            first(&server.address(), &[(name, &value.replace("TOKEN", token))])
        });
        let answers: Vec<Value> = answers.collect();
        assert_eq!(answers[0], answers[1], "{name}: {value}");
        let is_created = answers[0]["result"]["canceled"].is_null();
        assert_eq!(is_created, is_known, "{name}: {value}: {answers:?}");
    }
    // A browser sends the cookie for every page.
    let cookie = format!("token={}", tokens[0]);
    let address = pair.quorate.address();
    let origin = format!("http://{address}");
    for (origin, is_known) in [(origin.as_str(), true), ("http://a", false)] {
        let answer = first(&address, &[("Cookie", &cookie), ("Origin", origin)]);
        assert_eq!(answer["result"]["canceled"].is_null(), is_known, "{origin}: {answer}");
    }
    pair.assert_sound();
}

#[test]
fn foreign_hosts_and_pages_are_refused() {
    let flags = ["--host-whitelist=good,127.0.0.1", "--cors=http://a:1"];
    let Some(mut pair) = ServerPair::start("hosts of web sockets", &flags) else { return };
    let status = |address: &str, headers: &[(&str, &str)]| {
        let opened = Socket::try_open(address, "/v3/watch", headers);
        opened.map_or_else(|refused| refused.status(), |(_, answer)| answer.status()).as_u16()
    };
    for (host, wanted) in [("good", 101), ("bad", 421)] {
        for (name, server) in pair.both() {
            assert_eq!(status(&server.address(), &[("Host", host)]), wanted, "{name} {host}");
        }
    }
    // Quorate applies the rules of CORS to web sockets, too. etcd lets every page open and read
    // them.
    let address = pair.quorate.address();
    let own = format!("http://{address}");
    for (origin, wanted) in [("http://a:1", 101), (own.as_str(), 101), ("http://b", 403)] {
        assert_eq!(status(&address, &[("Origin", origin)]), wanted, "{origin}");
    }
    pair.assert_sound();
}

#[test]
fn the_gateway_switched_off_has_no_web_sockets() {
    let server = super::start(&["--enable-grpc-gateway=false"]);
    let refused = Socket::try_open(&server.address(), "/v3/watch", &[]).unwrap_err();
    assert_eq!(refused.status(), 404);
}

#[test]
fn open_web_sockets_do_not_delay_the_stop() {
    let mut server = super::start(&[]);
    let address = server.address();
    let mut watch = Socket::open(&address, "watch");
    watch.send(r#"{"create_request":{"key":"Zm9v"}}"#);
    assert_eq!(watch.json()["result"]["created"], true);
    let silent_stream = Socket::open(&address, "watch");
    let silent_call = Socket::open(&address, "kv/put");
    let mut begun = Socket::open(&address, "kv/put");
    begun.send(r#"{"key":"#);
    // Its client goes on sending.
    let mut busy = Socket::open(&address, "kv/put");
    let busy = std::thread::spawn(move || while busy.is_alive() {});
    // Its client does not read.
    let put = json!({ "key": "YQ==", "value": "QUJD".repeat(250_000) }).to_string();
    assert_eq!(post(&address, "kv/put", &put).status, 200);
    let mut unread = Socket::open(&address, "watch");
    unread.send(r#"{"create_request":{"key":"YQ==","start_revision":"2"}}"#.repeat(50));
    server.stop();
    for stream in [watch, silent_stream] {
        let (messages, end) = stream.rest();
        assert_eq!((messages.len(), end), (1, End::Cut));
        assert_eq!(messages[0]["error"]["code"], 14, "{messages:?}");
    }
    for call in [silent_call, begun] {
        assert_eq!(call.rest().1, End::Cut);
    }
    drop(unread);
    busy.join().unwrap();
}

/// Messages that never end, and answers that are not read.
#[test]
fn clients_hold_bounded_memory() {
    let server = super::start(&[BUDGET]);
    let address = server.address();
    let value = "QUJD".repeat(250_000);
    for key in 10..30 {
        let put = json!({ "key": format!("AA{key}"), "value": value }).to_string();
        assert_eq!(post(&address, "kv/put", &put).status, 200);
    }
    let before = server.usage().peak_memory;
    let begun = format!(r#"{{"create_request":{{"key":"{}"#, "A".repeat(7 << 20));
    let all = r#"{"key":"AA==","range_end":"AA=="}"#;
    let requests = [("watch", begun.as_str()), ("kv/range", all)];
    for (path, request) in requests {
        let asked = || {
            let mut socket = Socket::open(&address, path);
            // The server cuts the connection if it has no memory for the message.
            socket.is_served(request);
            socket
        };
        let unread: Vec<Socket> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(asked)).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let grown = server.usage().peak_memory.saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{path}: {grown} bytes more for {CLIENTS} clients");
        assert!(http::get(&address, "/metrics").is_some());
        drop(unread);
    }
    let held = || http::metric(&address, "quorate_memory_in_flight_bytes");
    wait::until("memory that is free again", WITHIN, || held().filter(|bytes| *bytes < 0.5));
}
