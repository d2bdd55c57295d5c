//! The flags of the gateway, ports, TLS and HTTP/2.

use std::process::Command;

use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::certs::Pki;
use quorate_test_support::port;
use quorate_test_support::require::{Need, met};
use quorate_test_support::server::Server;

use super::client::{ask, post};

const PUT: &str = r#"{"key":"Zm9v"}"#;

#[test]
fn the_gateway_can_be_switched_off() {
    let server = super::start(&["--enable-grpc-gateway=false"]);
    let answer = post(&server.address(), "kv/put", PUT);
    assert_eq!((answer.status, answer.text.as_str()), (404, "404 page not found\n"));
}

#[test]
fn hosts_and_origins_are_checked_as_in_etcd() {
    let flags = ["--host-whitelist=good,127.0.0.1", "--cors=http://a:1,http://b:2"];
    let Some(pair) = ServerPair::start("Host and Origin headers", &flags) else { return };
    let requests = ["POST /v3/kv/put", "GET /version", "OPTIONS /health", "OPTIONS /none"];
    for request in requests {
        for host in ["good", "good:80", "bad", "127.0.0.1:2", "[::1]:2", "good.bad"] {
            for origin in ["http://a:1", "http://b:2", "http://c:3", "a"] {
                let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n");
                let [ours, theirs] = pair.both().map(|(_, server)| {
                    let answer = ask(&server.address(), request, &headers, PUT);
                    let header = |name| answer.header(name).map(str::to_owned);
                    let allowed = header("access-control-allow-origin");
                    (answer.status, allowed, header("access-control-allow-headers"))
                });
                assert_eq!(ours, theirs, "{request} {headers}");
            }
        }
    }
}

/// The handshake of a web socket, for curl.
const UPGRADE: [&str; 8] = [
    "-H",
    "Connection: Upgrade",
    "-H",
    "Upgrade: websocket",
    "-H",
    "Sec-WebSocket-Version: 13",
    "-H",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Puts with curl; returns the status and the version of HTTP.
fn curl(arguments: &[&str], url: &str) -> String {
    answered(&[arguments, &["-d", PUT]].concat(), url)
}

/// Opens a web socket with curl at a path without a method, so that it ends at once.
fn upgraded(port: &str) -> String {
    answered(&[&["-k", "--http1.1"], &UPGRADE[..]].concat(), &format!("{port}/v3/none"))
}

/// The status and the version of HTTP of the answer that curl gets.
fn answered(arguments: &[&str], url: &str) -> String {
    let written = ["-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", url];
    let output = Command::new("curl").args(arguments).args(written).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ports_with_and_without_tls_serve_the_gateway() {
    if !met("the JSON gateway on all ports", &[Need::Program("curl")]) {
        return;
    }
    let [port] = port::free();
    let pages = format!("http://127.0.0.1:{port}");
    let flag = format!("--listen-client-http-urls={pages}");
    let split = super::start(&[&flag]);
    let path = "/v3/kv/put";
    assert_eq!(curl(&["--http1.1"], &format!("{pages}{path}")), "200 1.1");
    assert_eq!(curl(&["--http2-prior-knowledge"], &format!("{pages}{path}")), "200 2");
    assert_eq!(post(&split.address(), "kv/put", PUT).status, 404);
    assert_eq!(upgraded(&pages), "101 1.1");
    assert_eq!(upgraded(&format!("http://{}", split.address())), "404 1.1");

    let folder = tempfile::tempdir().unwrap();
    let flags: Vec<String> = Pki::new(folder.path())
        .client_flags()
        .into_iter()
        .filter(|flag| !flag.contains("ca-file") && !flag.contains("auth"))
        .chain(["--host-whitelist=other".to_owned()])
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(&quorate_test_support::program::quorate(), &flags).with_tls();
    server.start();
    let url = format!("https://{}{path}", server.address());
    assert_eq!(curl(&["-k", "--http1.1"], &url), "200 1.1");
    assert_eq!(curl(&["-k", "--http2"], &url), "200 2");
    assert_eq!(upgraded(&format!("https://{}", server.address())), "101 1.1");
}

/// Sends `body` with curl over HTTP/2 and TLS; returns the status, and curl's error if any.
fn refusal(arguments: &[&str], url: &str, body: &str) -> String {
    let written = ["-sS", "-k", "--http2", "-o", "/dev/null", "-w", "%{http_code}", url];
    let body = ["--data-binary", body];
    let curl = Command::new("curl").args(arguments).args(written).args(body).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&curl.stdout), String::from_utf8_lossy(&curl.stderr))
}

#[test]
fn curl_shows_refusals_of_large_requests() {
    if !met("refusals of large requests", &[Need::Program("curl")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let flags: Vec<String> = Pki::new(folder.path())
        .client_flags()
        .into_iter()
        .filter(|flag| !flag.contains("ca-file") && !flag.contains("auth"))
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(&quorate_test_support::program::quorate(), &flags).with_tls();
    server.start();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; 1_000_000]).unwrap();
    let body = format!("@{}", file.display());
    let cases: [(&str, &[&str], &str); 4] = [
        ("/nope", &[], "404"),
        ("/v3/kv/none", &[], "404"),
        ("/v3/kv/put", &["-X", "DELETE"], "501"),
        ("/v3/kv/put", &[], "400"),
    ];
    for (path, arguments, status) in cases {
        let url = format!("https://{}{path}", server.address());
        for _ in 0..5 {
            assert_eq!(refusal(arguments, &url, &body), status, "{path}");
        }
    }
}
