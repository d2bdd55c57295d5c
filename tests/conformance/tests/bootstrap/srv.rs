//! Founders in DNS SRV records. In the members' mount namespace, `/etc/resolv.conf` names this
//! test's DNS server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use quorate_test_support::certs::Pki;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::{assert_contains, program};

use crate::refusal;

/// Loopback address of the test's DNS server; nothing else uses it.
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 53, 53, 53);
const DOMAIN: &str = "quorate.test";
/// How often the DNS server checks whether to stop.
const TICK: Duration = Duration::from_millis(50);
const TTL: u32 = 1;

type Answers = BTreeMap<(Name, RecordType), Vec<RData>>;

/// A DNS server with fixed answers.
struct Dns {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    fn start(answers: Answers) -> Self {
        let socket = UdpSocket::bind((SERVER, 53)).unwrap();
        socket.set_read_timeout(Some(TICK)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(answer) = answer(&buffer[..length], &answers) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(request: &[u8], answers: &Answers) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    let query = request.queries.first()?;
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.message_type = MessageType::Response;
    response.metadata.authoritative = true;
    response.add_query(query.clone());
    let name = query.name().to_lowercase();
    let kind = query.query_type();
    match answers.get(&(name.clone(), kind)) {
        Some(found) => {
            let records = found
                .iter()
                .map(|data| Record::from_rdata(query.name().clone(), TTL, data.clone()));
            response.add_answers(records);
        }
        None if answers.keys().any(|(known, _)| *known == name) => {}
        None => response.metadata.response_code = ResponseCode::NXDomain,
    }
    response.to_vec().ok()
}

/// DNS name of a member.
fn host(number: usize) -> String {
    format!("node{number}.{DOMAIN}")
}

fn name(text: &str) -> Name {
    Name::from_str(&format!("{text}.")).unwrap()
}

fn is_possible() -> bool {
    require::met(
        "founders in the DNS",
        &[Need::Root, Need::Program("unshare"), Need::Program("mount")],
    )
}

/// Three members that find each other through SRV records of the domain.
struct Nodes {
    members: Vec<Server>,
    // Holds the members' `resolv.conf` and the certificates.
    folder: tempfile::TempDir,
}

impl Nodes {
    fn new(is_secure: bool, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let resolver = folder.path().join("resolv.conf");
        std::fs::write(&resolver, format!("nameserver {SERVER}\n")).unwrap();
        let hosts: Vec<String> = (1..=3).map(host).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let pki = Pki::for_hosts(&folder.path().join("pki"), &hosts);
        let secure = if is_secure { pki.peer_flags() } else { Vec::new() };
        let flags: Vec<&str> =
            secure.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let members = hosts.iter().enumerate().map(|(at, host)| {
            let member = in_namespace(&resolver, &flags).named(&format!("n{at}")).at_host(host);
            let mut member = if is_secure { member.with_peer_tls() } else { member };
            member.set_initial_cluster(&[&format!("--discovery-srv={DOMAIN}")]);
            member
        });
        Self { members: members.collect(), folder }
    }

    /// SRV and A records of the members, for this service.
    fn records(&self, service: &str) -> Answers {
        let mut answers = Answers::new();
        for (at, member) in self.members.iter().enumerate() {
            let host = name(&host(at + 1));
            let url = member.peer_url();
            let port = url.rsplit_once(':').unwrap().1.parse().unwrap();
            let service = (name(&format!("_{service}._tcp.{DOMAIN}")), RecordType::SRV);
            let record = RData::SRV(SRV::new(0, 0, port, host.clone()));
            answers.entry(service).or_default().push(record);
            answers.insert((host, RecordType::A), vec![RData::A(A(Ipv4Addr::LOCALHOST))]);
        }
        answers
    }

    /// Starts all members and checks that each found all three.
    fn meet(&mut self) {
        self.members.iter_mut().for_each(Server::spawn);
        self.members.iter_mut().for_each(Server::wait_until_ready);
        for member in &self.members {
            let found = member.log_of_run();
            assert_eq!(found.matches("found a member in the SRV records").count(), 3, "{found}");
        }
        self.members.iter_mut().for_each(Server::kill);
        // After founding, the members no longer need the DNS.
        std::fs::write(self.folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    }
}

/// A server that sees another file as `/etc/resolv.conf`.
fn in_namespace(resolver: &Path, flags: &[&str]) -> Server {
    let mount =
        format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", resolver.display());
    let launcher = ["unshare", "--mount", "--", "sh", "-c", &mount];
    Server::new(&program::quorate(), flags).with_launcher(&launcher)
}

#[test]
fn members_are_found_in_dns_srv_records() {
    if !is_possible() {
        return;
    }
    let without = |nodes: &mut Nodes, text: &str| {
        assert_contains(&refusal(&mut nodes.members[0]), &[DOMAIN, text]);
    };
    let mut plain = Nodes::new(false, &[]);
    {
        // Host records without a service record; then a service record without this host.
        let mut records = plain.records("etcd-server");
        records.retain(|(_, kind), _| *kind == RecordType::A);
        let _dns = Dns::start(records);
        without(&mut plain, "_etcd-server._tcp");
    }
    {
        let mut records = plain.records("etcd-server");
        let service = (name(&format!("_etcd-server._tcp.{DOMAIN}")), RecordType::SRV);
        records.get_mut(&service).unwrap().remove(0);
        let _dns = Dns::start(records);
        without(&mut plain, "is not in the SRV records");
    }
    {
        let _dns = Dns::start(plain.records("etcd-server"));
        plain.meet();
    }
    let mut secure = Nodes::new(true, &["--discovery-srv-name=blue"]);
    let _dns = Dns::start(secure.records("etcd-server-ssl-blue"));
    secure.meet();
}
