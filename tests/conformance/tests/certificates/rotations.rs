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
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use crate::start_together;
use crate::visitor::{Visitor, fingerprint};

const ROTATIONS: usize = 20;
/// After this many rotations, a member is started again: all its connections are new.
const RESTART_EVERY: usize = 5;
/// How long a member may take to use changed files.
const WITHIN: Duration = Duration::from_secs(5);
/// How long the clients may take to use new certificates.
const CLIENTS_WITHIN: Duration = Duration::from_secs(60);
/// Roles of a member with certificates: a server of clients, and both sides between members.
const ROLES: usize = 3;
/// The name in the certificate of a client that is refused on purpose.
const VISITOR: &str = "visitor";

/// Clients of two members.
#[derive(Default)]
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

/// Writes a value and reads it back.
async fn write_and_read(
    client: &mut KvClient<Channel>,
    key: &str,
    value: String,
) -> Result<(), Status> {
    let put =
        pb::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
    let range = pb::RangeRequest { key: put.key.clone(), ..Default::default() };
    client.put(put.clone()).await?;
    let read = client.range(range).await?.into_inner();
    assert_eq!(read.kvs.first().map(|kv| &kv.value), Some(&put.value), "{key}");
    Ok(())
}

impl Load {
    /// Writes and reads over a connection that stays, and over a new one each time.
    async fn run(&self, at: usize, url: &str, live: &Pki) {
        let mut kept = KvClient::new(client::tls_channel(url, live));
        while !self.is_over.load(Ordering::Relaxed) {
            let (fresh, change) = {
                let changes = self.changes.read().unwrap();
                (client::tls_channel(url, live), *changes)
            };
            let mut fresh = KvClient::new(fresh);
            for client in [&mut kept, &mut fresh] {
                let number = self.requests.fetch_add(2, Ordering::Relaxed);
                let done = write_and_read(client, &format!("key-{at}"), number.to_string()).await;
                if let Err(error) = done {
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

/// Replaces a file in one step.
fn replace(path: &Path, content: &[u8]) {
    let other = path.with_extension("new");
    fs::write(&other, content).unwrap();
    fs::rename(other, path).unwrap();
}

fn fingerprint_of(path: &Path) -> String {
    fingerprint(&CertificateDer::from_pem_file(path).unwrap())
}

/// Certificates in a new folder.
fn issue(folder: &Path) -> Pki {
    let pki = Pki::new(folder);
    pki.issue_client(VISITOR);
    pki
}

/// Three members with these files on all ports, and the addresses of their pages.
fn start(live: &Pki) -> ([Server; 3], [String; 3]) {
    let pages = port::free::<3>().map(|port| format!("127.0.0.1:{port}"));
    let flags = [live.peer_flags(), live.client_flags()].concat();
    let mut members = [0, 1, 2].map(|at: usize| {
        let page = format!("--listen-metrics-urls=http://{}", pages[at]);
        // At this level, each refused certificate is logged.
        let more = ["--log-level=debug", &page];
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more).collect();
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

/// Waits until all ports answer a visitor with this certificate, or no port answers the visitor.
fn wait_for_ports(members: &[Server], visitor: &Visitor, served_by: Option<&str>) {
    let ports = members.iter().flat_map(|member| [member.address(), member.peer_address()]);
    for port in ports {
        wait::until(&format!("{served_by:?} at {port}"), WITHIN, || {
            (visitor.served_by(&port).as_deref() == served_by).then_some(())
        });
    }
}

/// Replaces the certificates: members and clients first trust both authorities, then present new
/// certificates, and last trust only the new authority. Waits after each step until the ports
/// follow.
fn rotate(load: &Load, live: &Pki, next: &Pki, (members, pages): (&[Server], &[String])) {
    let read = |pki: &Pki, name: &str| fs::read(pki.path(name)).unwrap();
    let before = fingerprint_of(&live.path("ca.crt"));
    let old_server = fingerprint_of(&live.path("server.crt"));
    let new_server = fingerprint_of(&next.path("server.crt"));
    let both = [read(live, "ca.crt"), read(next, "ca.crt")].concat();
    load.change(|| replace(&live.path("ca.crt"), &both));
    wait_for(pages, &fingerprint_of(&next.path("ca.crt")), true);
    let [old, new] = [live, next].map(|pki| Visitor::new(&live.path("ca.crt"), pki, VISITOR));
    wait_for_ports(members, &new, Some(&old_server));
    load.change(|| {
        for name in ["server.crt", "server.key", "client.crt", "client.key"] {
            replace(&live.path(name), &read(next, name));
        }
    });
    wait_for_ports(members, &old, Some(&new_server));
    wait_for(pages, &new_server, true);
    load.change(|| replace(&live.path("ca.crt"), &read(next, "ca.crt")));
    wait_for_ports(members, &old, None);
    wait_for_ports(members, &new, Some(&new_server));
    wait_for(pages, &before, false);
    for name in [format!("{VISITOR}.crt"), format!("{VISITOR}.key")] {
        replace(&live.path(&name), &read(next, &name));
    }
}

#[test]
fn twenty_rotations_fail_no_request() {
    let home = TempDir::new().unwrap();
    let live = issue(&home.path().join("live"));
    let (mut members, pages) = start(&live);
    let load = Load::default();
    thread::scope(|scope| {
        let _over = Over(&load);
        for (at, member) in members.iter().take(2).enumerate() {
            let (url, load, live) = (member.url(), &load, &live);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(load.run(at, &url, live));
            });
        }
        for rotation in 1..=ROTATIONS {
            let next = issue(&home.path().join(rotation.to_string()));
            rotate(&load, &live, &next, (&members, &pages));
            if rotation % RESTART_EVERY == 0 {
                members[2].stop();
                members[2].start();
            }
        }
    });
    let failures = load.failures.into_inner().unwrap();
    let requests = load.requests.into_inner();
    println!("{requests} requests");
    assert!(failures.is_empty(), "{} of {requests}: {failures:#?}", failures.len());
    for member in &members {
        let log = member.log();
        let mut refused = log.lines().filter(|line| line.contains("refused a certificate"));
        let expected = format!("CN={VISITOR}");
        let other = refused.find(|line| !line.contains(&expected));
        assert!(other.is_none(), "{other:?}");
    }
}
