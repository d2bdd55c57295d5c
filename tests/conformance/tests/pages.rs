//! Pages and metrics beside etcd's: the version, variables for debugging, the certificates in use,
//! the disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::certs::Pki;
use quorate_test_support::metrics::samples;
use quorate_test_support::server::Server;
use quorate_test_support::{http, port, program, wait};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The end of the validity of the certificates that the tests issue.
const NOT_AFTER: (&str, f64) = ("4096-01-01T00:00:00Z", 67_090_118_400.0);
/// The roles of certificates.
const ROLES: [&str; 3] = ["client-server", "peer-client", "peer-server"];
/// How long the limit on rereads may take to permit a reread, or to refuse one.
const WITHIN: Duration = Duration::from_secs(30);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_version_page_has_etcds_keys_and_ours() {
    let page = |server: &Server| json(&http::get(&server.address(), "/version").unwrap());
    let Some(pair) = ServerPair::start("version page", &[]) else { return };
    let mut ours = page(&pair.quorate);
    let fields = ours.as_object_mut().unwrap();
    assert_eq!(fields.remove("quorate"), Some(json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(fields.remove("dataFormat"), Some(json!(1)));
    assert_eq!(ours, page(&pair.etcd));
}

/// Takes a field out of an object, which must have it.
fn take(object: &mut Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("no {name}: {object}"))
}

#[test]
fn variables_are_those_of_etcd_that_have_a_meaning_here() {
    let Some(pair) = ServerPair::start("variables for debugging", &[]) else { return };
    let [mut ours, mut theirs] = pair.both().map(|(name, server)| {
        let ask = |method: &str| http::ask(&server.address(), method, "/debug/vars").unwrap();
        let (head, body) = ask("GET");
        let is_json = head.to_lowercase().contains("content-type: application/json; charset=utf-8");
        assert!(is_json, "{name}: {head}");
        let (head, _) = ask("POST");
        assert!(head.contains(" 405 ") && head.to_lowercase().contains("allow: get"), "{head}");
        json(&body)
    });
    let memory = take(&mut ours, "memory");
    assert!(memory["residentBytes"].as_u64() > Some(1 << 20), "{memory}");
    assert!(memory["budgetBytes"].as_u64() > memory["budgetUsedBytes"].as_u64(), "{memory}");
    take(&mut theirs, "memstats");
    let line = take(&mut ours, "cmdline");
    assert!(line.as_array().unwrap().contains(&json!("--name=m1")), "{line}");
    take(&mut theirs, "cmdline");
    for name in ["commit", "applied"] {
        for variables in [&mut ours, &mut theirs] {
            assert!(take(&mut variables["raft.status"], name).as_u64() > Some(0), "{name}");
        }
    }
    for name in ["vote", "progress", "leadtransferee"] {
        take(&mut theirs["raft.status"], name);
    }
    assert_eq!(ours, theirs);
}

#[test]
fn variables_show_no_secrets() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    server.stop();
    // A member that knows its cluster asks no discovery service.
    server.set_initial_cluster(&[
        "--discovery-token=hidden1",
        "--discovery-endpoints=127.0.0.1:1",
        "--discovery-user=hidden2",
        "--discovery-password=hidden3",
    ]);
    server.start();
    let page = http::get(&server.address(), "/debug/vars").unwrap();
    assert!(page.contains("--discovery-endpoints=127.0.0.1:1"), "{page}");
    assert!(page.contains("--discovery-password=(secret)"), "{page}");
    assert!(!page.contains("hidden"), "{page}");
}

#[test]
fn the_size_of_the_disk_is_a_metric() {
    let server = Server::start_new(&program::quorate(), &[]);
    let disk = rustix::fs::statvfs(server.data_dir()).unwrap();
    let bytes = |blocks: u64| (blocks * disk.f_frsize) as f64;
    let page = samples(&http::get(&server.address(), "/metrics").unwrap());
    for directory in ["db", "wal"] {
        let value = |name: &str| {
            let its = |one: &&quorate_test_support::metrics::Sample| {
                one.name == name && one.labels["directory"] == directory
            };
            page.iter().find(its).unwrap().value
        };
        assert_eq!(value("quorate_disk_total_bytes"), bytes(disk.f_blocks));
        let free = value("quorate_disk_free_bytes");
        // Other tests use the disk, too.
        assert!((free - bytes(disk.f_bavail)).abs() < bytes(disk.f_blocks) / 10.0, "{free}");
    }
}

/// A server with TLS on all ports but that of its pages.
struct Secure {
    home: TempDir,
    server: Server,
    pages: String,
}

impl Secure {
    fn start() -> (Self, Pki) {
        let home = TempDir::new().unwrap();
        let pki = Pki::new(home.path());
        let [port] = port::free();
        let pages = format!("127.0.0.1:{port}");
        let mut flags = pki.peer_flags();
        flags.extend(pki.client_flags());
        flags.push(format!("--listen-metrics-urls=http://{pages}"));
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut server = Server::new(&program::quorate(), &flags).with_tls().with_peer_tls();
        server.start();
        (Self { home, server, pages }, pki)
    }

    /// The status code, the head in lower case, and the body of an answer.
    fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let (head, body) = http::ask(&self.pages, method, path).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body)
    }

    fn page(&self) -> Value {
        json(&http::get(&self.pages, "/tls").unwrap())
    }

    /// Rereads the certificates, as soon as the member allows it.
    fn reread(&self) -> Value {
        wait::until("a reread", WITHIN, || {
            let (status, head, body) = self.ask("POST", "/tls/reload");
            match status {
                200 => Some(json(&body)),
                429 => {
                    assert!(head.contains("retry-after: 1"), "{head}");
                    None
                }
                _ => panic!("{status}: {body}"),
            }
        })
    }

    /// The role, use and fingerprint of each series of the metric.
    fn series(&self) -> BTreeSet<[String; 3]> {
        let page = samples(&http::get(&self.pages, "/metrics").unwrap());
        let its = page.into_iter().filter(|one| one.name == "quorate_tls_not_after_seconds");
        let series = its.map(|one| {
            assert_eq!(one.value, NOT_AFTER.1);
            ["role", "use", "fingerprint"].map(|label| one.labels[label].clone())
        });
        series.collect()
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The fingerprint of a certificate's file.
fn of_file(pki: &Pki, name: &str) -> String {
    fingerprint(&CertificateDer::from_pem_file(pki.path(name)).unwrap())
}

/// The page when all roles use these certificates.
fn expected(pki: &Pki) -> Value {
    let describe = |file: &str, subject: &str| {
        let fingerprint = of_file(pki, file);
        json!({ "fingerprint": fingerprint, "subject": subject, "notAfter": NOT_AFTER.0 })
    };
    let role = json!({
        "leaf": describe("server.crt", "CN=server"),
        "trust": [describe("ca.crt", "CN=authority")],
        "problem": null,
    });
    ROLES.iter().map(|name| ((*name).to_owned(), role.clone())).collect()
}

/// The series of the metric when all roles use these certificates.
fn expected_series(pki: &Pki) -> BTreeSet<[String; 3]> {
    let [leaf, trusted] = ["server.crt", "ca.crt"].map(|name| of_file(pki, name));
    let uses = [("leaf", leaf), ("trust", trusted)];
    let all = ROLES.iter().flat_map(|role| {
        uses.iter().map(move |(used_as, print)| [*role, used_as, print].map(str::to_owned))
    });
    all.collect()
}

/// The fingerprint of the certificate that the client port presents to a client of `pki`.
fn presented(server: &Server, pki: &Pki) -> String {
    let mut authorities = rustls::RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(pki.path("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_file(pki.path("client.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki.path("client.key")).unwrap();
    let config =
        builder.with_root_certificates(authorities).with_client_auth_cert(chain, key).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut socket = std::net::TcpStream::connect(server.address()).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    // The server may close the connection without TLS's own end.
    let _end = stream.read_to_string(&mut answer);
    assert!(answer.contains("dataFormat"), "{answer}");
    fingerprint(&session.peer_certificates().unwrap()[0])
}

#[test]
fn the_certificates_in_use_are_shown() {
    let (secure, pki) = Secure::start();
    for _ in 0..2 {
        assert_eq!(secure.page(), expected(&pki));
        assert_eq!(secure.series(), expected_series(&pki));
        assert_eq!(presented(&secure.server, &pki), of_file(&pki, "server.crt"));
        // Another authority renews the certificates, in the same files.
        Pki::new(secure.home.path());
    }
}

#[test]
fn certificates_are_reread_on_demand() {
    let (secure, pki) = Secure::start();
    assert_eq!(secure.reread(), expected(&pki));
    let before = secure.page();
    let key = "-----BEGIN PRIVATE KEY----- SECRET";
    std::fs::write(pki.path("server.key"), key).unwrap();
    let broken = secure.reread();
    for role in ROLES {
        assert_eq!(broken[role]["leaf"], before[role]["leaf"], "{role}");
        let problem = broken[role]["problem"].as_str().unwrap();
        let flag = if role == "client-server" { "--key-file" } else { "--peer-key-file" };
        assert_eq!(problem, format!("{flag}: {}", pki.path("server.key").display()));
    }
    Pki::new(secure.home.path());
    assert_eq!(secure.reread(), expected(&pki));
}

#[test]
fn rereads_are_limited_in_their_rate() {
    let (secure, _) = Secure::start();
    wait::until("a refusal", WITHIN, || (secure.ask("POST", "/tls/reload").0 == 429).then_some(()));
    for (method, path, allowed) in [("GET", "/tls/reload", "post"), ("POST", "/tls", "get")] {
        let (status, head, _) = secure.ask(method, path);
        assert_eq!(status, 405, "{method} {path}");
        assert!(head.contains(&format!("allow: {allowed}")), "{head}");
    }
}

#[test]
fn a_member_without_certificates_shows_none() {
    let server = Server::start_new(&program::quorate(), &[]);
    assert_eq!(json(&http::get(&server.address(), "/tls").unwrap()), json!({}));
}
