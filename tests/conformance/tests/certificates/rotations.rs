//! Certificates and their authorities are replaced again and again, and no request fails.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::certs::Pki;
use quorate_test_support::server::Server;
use quorate_test_support::{client, http, port, program, wait};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::start_together;

const ROTATIONS: usize = 20;
/// After this many rotations, a member is started again: all its connections are new.
const RESTART_EVERY: usize = 5;
/// How long a member may take to use changed files.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the clients may take to use new certificates.
const CLIENTS_WITHIN: Duration = Duration::from_secs(60);
/// Roles of a member with certificates: a server of clients, and both sides between members.
const ROLES: usize = 3;

/// Clients of two members.
struct Load {
    /// Counts the changes of the files. Held while the files are read and changed.
    changes: RwLock<u64>,
    /// The change whose files each client has used last.
    used: [AtomicU64; 2],
    failures: Mutex<Vec<String>>,
    requests: AtomicU64,
    is_over: AtomicBool,
}

/// Ends the clients, also when the test fails.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Writes over a connection that stays, and over a new one each time.
    async fn run(&self, at: usize, url: &str, live: &Pki) {
        let mut kept = KvClient::new(client::tls_channel(url, live));
        while !self.is_over.load(Ordering::Relaxed) {
            let (fresh, change) = {
                let changes = self.changes.read().unwrap();
                (client::tls_channel(url, live), *changes)
            };
            let mut fresh = KvClient::new(fresh);
            for client in [&mut kept, &mut fresh] {
                let key = format!("key-{at}").into();
                let put = pb::PutRequest { key, value: "value".into(), ..Default::default() };
                self.requests.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = client.put(put).await {
                    self.failures.lock().unwrap().push(format!("{url}: {error:?}"));
                }
            }
            self.used[at].store(change, Ordering::Relaxed);
        }
    }

    /// Changes the files, and waits until the clients have used them.
    fn change(&self, change: impl FnOnce()) {
        let now = {
            let mut changes = self.changes.write().unwrap();
            change();
            *changes += 1;
            *changes
        };
        wait::until("the clients use the new files", CLIENTS_WITHIN, || {
            let is_used = |used: &AtomicU64| used.load(Ordering::Relaxed) >= now;
            self.used.iter().all(is_used).then_some(())
        });
    }
}

/// Replaces a file at once.
fn replace(path: &Path, content: &[u8]) {
    let other = path.with_extension("new");
    fs::write(&other, content).unwrap();
    fs::rename(other, path).unwrap();
}

fn fingerprint(path: &Path) -> String {
    let certificate = CertificateDer::from_pem_file(path).unwrap();
    Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Three members with these files on all ports, and the addresses of their pages.
fn start(live: &Pki) -> ([Server; 3], [String; 3]) {
    let pages = port::free::<3>().map(|port| format!("127.0.0.1:{port}"));
    let mut flags = live.peer_flags();
    let file = |flag: &str, name: &str| format!("--{flag}={}", live.path(name).display());
    flags.push(file("cert-file", "server.crt"));
    flags.push(file("key-file", "server.key"));
    flags.push(file("trusted-ca-file", "ca.crt"));
    let mut members = [0, 1, 2].map(|at: usize| {
        let page = format!("--listen-metrics-urls=http://{}", pages[at]);
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain([page.as_str()]).collect();
        let server = Server::new(&program::quorate(), &flags);
        server.named(&format!("m{at}")).with_tls().with_peer_tls()
    });
    start_together(&mut members);
    (members, pages)
}

/// Waits until the next connection of each role of all members uses this certificate, or none does.
fn wait_for(pages: &[String], fingerprint: &str, is_used: bool) {
    let expected = if is_used { ROLES } else { 0 };
    for page in pages {
        wait::until(&format!("{fingerprint} at {page}: {is_used}"), WITHIN, || {
            let shown = http::get(page, "/tls")?;
            (shown.matches(fingerprint).count() == expected).then_some(())
        });
    }
}

#[test]
fn twenty_rotations_fail_no_request() {
    let home = TempDir::new().unwrap();
    let live = Pki::new(&home.path().join("live"));
    let (mut members, pages) = start(&live);
    let load = Load {
        changes: RwLock::new(0),
        used: Default::default(),
        failures: Mutex::default(),
        requests: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let _over = Over(&load);
        for (at, member) in members.iter().take(2).enumerate() {
            let (url, load, live) = (member.url(), &load, &live);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(load.run(at, &url, live));
            });
        }
        let third = &mut members[2];
        for rotation in 1..=ROTATIONS {
            let next = Pki::new(&home.path().join(rotation.to_string()));
            let read = |pki: &Pki, name: &str| fs::read(pki.path(name)).unwrap();
            let before = fingerprint(&live.path("ca.crt"));
            // First, everybody trusts both authorities.
            let both = [read(&live, "ca.crt"), read(&next, "ca.crt")].concat();
            load.change(|| replace(&live.path("ca.crt"), &both));
            wait_for(&pages, &fingerprint(&next.path("ca.crt")), true);
            // Then everybody presents the new certificate, and last the old authority goes.
            load.change(|| {
                for name in ["server.crt", "server.key", "client.crt", "client.key"] {
                    replace(&live.path(name), &read(&next, name));
                }
            });
            wait_for(&pages, &fingerprint(&next.path("server.crt")), true);
            load.change(|| replace(&live.path("ca.crt"), &read(&next, "ca.crt")));
            wait_for(&pages, &before, false);
            if rotation % RESTART_EVERY == 0 {
                third.stop();
                third.start();
            }
        }
    });
    let failures = load.failures.into_inner().unwrap();
    let requests = load.requests.into_inner();
    assert!(failures.is_empty(), "{} of {requests}: {failures:#?}", failures.len());
    for member in &members {
        let log = member.log();
        assert!(!log.contains("refused a certificate"), "{log}");
    }
}
