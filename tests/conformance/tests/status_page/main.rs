//! The status page at `/` and its data at `/status`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
mod login;
mod view;

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_test_support::certs::Pki;
use quorate_test_support::require::{Need, met};
use quorate_test_support::server::Server;
use quorate_test_support::{http, port, program};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The status code, the headers in lower case, and the body.
fn ask(address: &str, method: &str, path: &str) -> (u16, String, String) {
    let (head, body) = http::ask(address, method, path).unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body)
}

/// The data of the page.
fn data(address: &str) -> Value {
    let (status, head, body) = ask(address, "GET", "/status");
    assert_eq!(status, 200, "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn the_data_are_those_of_the_member() {
    let flags = ["--quota-backend-bytes=100000000"];
    let server = Server::start_new(&program::quorate(), &flags);
    let before = data(&server.address());
    let put = http::ask(&server.address(), "PUT", "/v1/keys/a").unwrap();
    assert!(put.0.contains("200"), "{put:?}");
    let mut after = data(&server.address());
    let revision = |data: &Value| data["revision"].as_i64().unwrap();
    assert_eq!(revision(&after), revision(&before) + 1);
    assert!(after["appliedIndex"].as_u64() > before["appliedIndex"].as_u64());
    assert!(after["fileBytes"].as_u64() >= after["inUseBytes"].as_u64());
    let fields = after.as_object_mut().unwrap();
    let own = ["cluster", "term", "committedIndex", "appliedIndex", "inUseBytes", "fileBytes"];
    own.iter().for_each(|name| assert!(fields.remove(*name).is_some(), "{name}"));
    let id = fields["member"].clone();
    let expected = json!({
        "member": id,
        "leader": id,
        "version": env!("CARGO_PKG_VERSION"),
        "etcdVersion": "3.7.3",
        "revision": revision(&before) + 1,
        "compactedRevision": 0,
        "quotaBytes": 100_000_000,
        "alarms": [],
        "members": [{
            "id": id,
            "name": "m1",
            "clientUrls": [format!("http://{}", server.address())],
            "peerUrls": [format!("http://{}", server.peer_address())],
            "isLearner": false,
        }],
    });
    assert_eq!(after, expected);
}

/// The text between the tags of an element that the page has once.
fn element<'a>(html: &'a str, name: &str) -> &'a str {
    let (_, rest) = html.split_once(&format!("<{name}>")).unwrap();
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[test]
fn the_page_needs_nothing_else_and_may_do_nothing_else() {
    let server = Server::start_new(&program::quorate(), &[]);
    let (status, head, html) = ask(&server.address(), "GET", "/");
    assert_eq!(status, 200);
    for header in ["content-type: text/html", "cache-control: no-store", "nosniff"] {
        assert!(head.contains(header), "{header}: {head}");
    }
    let (_, head, html_again) = ask(&server.address(), "GET", "/?a=b");
    assert_eq!(html, html_again);
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    // The hashes are in `server/api/src/http/status.rs::POLICY`.
    for name in ["style", "script"] {
        let hash = STANDARD.encode(Sha256::digest(element(&html, name)));
        let allowed = format!("{name}-src 'sha256-{hash}'");
        assert!(head.contains(&allowed.to_lowercase()), "not {allowed:?} in {head}");
    }
    assert!(head.contains("default-src 'none'") && !head.contains("unsafe"), "{head}");
    for path in ["/", "/status"] {
        assert_eq!(ask(&server.address(), "POST", path).0, 405);
    }
}

#[test]
fn the_page_can_be_switched_off() {
    let server = Server::start_new(&program::quorate(), &["--status-page=false"]);
    for path in ["/", "/status"] {
        let (status, _, body) = ask(&server.address(), "GET", path);
        assert_eq!((status, body.as_str()), (404, "404 page not found\n"));
    }
}

#[test]
fn the_page_follows_the_rules_for_clients() {
    let [metrics] = port::free();
    let metrics = format!("127.0.0.1:{metrics}");
    let flag = format!("--listen-metrics-urls=http://{metrics}");
    let server = Server::start_new(&program::quorate(), &["--host-whitelist=good", &flag]);
    for path in ["/", "/status"] {
        assert_eq!(ask(&server.address(), "GET", path).0, 421, "127.0.0.1 is not its name");
        assert_eq!(ask(&metrics, "GET", path).0, 404, "this port checks no client");
        assert_eq!(ask(&server.peer_address(), "GET", path).2, "", "this port is for members");
    }
}

#[test]
fn the_page_needs_a_certificate_if_clients_do() {
    if !met("the status page over TLS", &[Need::Program("curl")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let flags = pki.client_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert!(flags.contains(&"--client-cert-auth"), "{flags:?}");
    let mut server = Server::new(&program::quorate(), &flags).with_tls();
    server.start();
    let path = |name: &str| pki.path(name).display().to_string();
    let [cert, key, ca] = ["client.crt", "client.key", "ca.crt"].map(path);
    for page in ["", "status"] {
        let url = format!("https://{}/{page}", server.address());
        let curl = |arguments: &[&str]| {
            let arguments = [&["-s", "-f", "--cacert", &ca, &url], arguments].concat();
            Command::new("curl").args(arguments).output().unwrap()
        };
        assert!(!curl(&[]).status.success(), "{url} needs no certificate");
        let answer = curl(&["--cert", &cert, "--key", &key]);
        assert!(answer.status.success() && !answer.stdout.is_empty(), "{url}: {answer:?}");
    }
}
