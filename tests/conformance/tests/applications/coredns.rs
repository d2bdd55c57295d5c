//! CoreDNS with its plugin for etcd, which reads `SkyDNS`'s layout: the last part of a name is the
//! first folder below `/skydns`.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use prost::Message;
use quorate_proto::authpb::Permission;
use quorate_proto::authpb::permission::Type;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::call;
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::server::Server;
use quorate_test_support::{port, program, wait};
use tempfile::TempDir;

use crate::build;
use crate::dns::ask;

const WITHIN: Duration = Duration::from_secs(30);
/// How many times a start is tried, each time with another port.
const STARTS: usize = 5;
/// A lease's TTL. It is less than 30 s, which is the least TTL of an answer.
const LEASE_SECONDS: i64 = 25;
const LEASE: i64 = 7;

/// The prefix of the plugin's keys, and the end of the range with this prefix.
const FOLDERS: &str = "/skydns/";
const FOLDERS_END: &str = "/skydns0";
/// The folder of the names that end in `skydns.test`.
const FOLDER: &str = "/skydns/test/skydns/";
/// Keys in [`FOLDER`], and their values.
const KEYS: [(&str, &str); 12] = [
    ("web/a", r#"{"host":"10.0.0.1","port":8080,"weight":20,"ttl":60}"#),
    ("web/b", r#"{"host":"10.0.0.2","port":8081,"weight":60,"ttl":60}"#),
    ("web/c", r#"{"host":"fd00::3","port":8082,"priority":20}"#),
    ("alias", r#"{"host":"web.skydns.test"}"#),
    ("note", r#"{"text":"a text","ttl":5}"#),
    ("mail/one", r#"{"host":"10.0.0.9","mail":true}"#),
    ("group/a", r#"{"host":"10.0.1.1","group":"g1"}"#),
    ("group/sub/b", r#"{"host":"10.0.1.2","group":"g1"}"#),
    ("groups/a", r#"{"host":"10.0.2.1","group":"g1"}"#),
    ("groups/sub/b", r#"{"host":"10.0.2.2","group":"g2"}"#),
    ("eu/db/one", r#"{"host":"10.0.3.1"}"#),
    ("us/db/one", r#"{"host":"10.0.3.2"}"#),
];
/// The key of an address, whose value is a name.
const REVERSE: (&str, &str) = ("/skydns/arpa/in-addr/10/0/0/1", r#"{"host":"web.skydns.test"}"#);

/// Queries, and the records of their answers. They cover the order of keys, and the plugin's rules
/// for groups, weights and names with a star.
const ANSWERS: [(&str, RecordType, &[&str]); 12] = [
    (
        "web.skydns.test.",
        RecordType::A,
        &["web.skydns.test. 60 IN A 10.0.0.1", "web.skydns.test. 60 IN A 10.0.0.2"],
    ),
    ("web.skydns.test.", RecordType::AAAA, &["web.skydns.test. 300 IN AAAA fd00::3"]),
    ("a.web.skydns.test.", RecordType::A, &["a.web.skydns.test. 60 IN A 10.0.0.1"]),
    (
        "web.skydns.test.",
        RecordType::SRV,
        &[
            "web.skydns.test. 60 IN SRV 10 25 8080 a.web.skydns.test.",
            "web.skydns.test. 60 IN SRV 10 75 8081 b.web.skydns.test.",
            "web.skydns.test. 300 IN SRV 20 100 8082 c.web.skydns.test.",
            "also a.web.skydns.test. 60 IN A 10.0.0.1",
            "also b.web.skydns.test. 60 IN A 10.0.0.2",
            "also c.web.skydns.test. 300 IN AAAA fd00::3",
        ],
    ),
    (
        "alias.skydns.test.",
        RecordType::A,
        &[
            "alias.skydns.test. 300 IN CNAME web.skydns.test.",
            "web.skydns.test. 60 IN A 10.0.0.1",
            "web.skydns.test. 60 IN A 10.0.0.2",
        ],
    ),
    ("note.skydns.test.", RecordType::TXT, &["note.skydns.test. 5 IN TXT a text"]),
    (
        "mail.skydns.test.",
        RecordType::MX,
        &[
            "mail.skydns.test. 300 IN MX 10 one.mail.skydns.test.",
            "also one.mail.skydns.test. 300 IN A 10.0.0.9",
        ],
    ),
    (
        "group.skydns.test.",
        RecordType::A,
        &["group.skydns.test. 300 IN A 10.0.1.1", "group.skydns.test. 300 IN A 10.0.1.2"],
    ),
    ("groups.skydns.test.", RecordType::A, &["groups.skydns.test. 300 IN A 10.0.2.1"]),
    (
        "db.*.skydns.test.",
        RecordType::A,
        &["db.*.skydns.test. 300 IN A 10.0.3.1", "db.*.skydns.test. 300 IN A 10.0.3.2"],
    ),
    (
        "1.0.0.10.in-addr.arpa.",
        RecordType::PTR,
        &["1.0.0.10.in-addr.arpa. 300 IN PTR web.skydns.test."],
    ),
    ("missing.skydns.test.", RecordType::A, MISSING),
];
const MISSING: &[&str] = &["Non-Existent Domain"];
const UNREADABLE: &[&str] = &["Server Failure"];

/// A running CoreDNS.
struct CoreDns {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl CoreDns {
    /// Starts it on a store. `more` are further settings of its plugin.
    fn start(store: &Server, more: &str) -> Self {
        let started = (0..STARTS).find_map(|_| {
            let mut server = Self::spawn(store, more);
            let answers = wait::within(WITHIN, || match server.child.try_wait().unwrap() {
                Some(_) => Some(false),
                None => ask(server.port, "skydns.test.", RecordType::NS).map(|_| true),
            });
            assert!(answers.is_some(), "CoreDNS does not answer:\n{}", server.log());
            answers.filter(|it| *it).map(|_| server)
        });
        started.expect("a port is free")
    }

    fn spawn(store: &Server, more: &str) -> Self {
        let [port] = port::free();
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            ".:{port} {{\n bind 127.0.0.1\n errors\n etcd skydns.test in-addr.arpa {{\n  \
             endpoint {}\n  {more}\n }}\n}}\n",
            store.url()
        );
        let corefile = folder.path().join("Corefile");
        std::fs::write(&corefile, settings).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program::cache().join("bin/dns"));
        command.arg("-conf").arg(corefile);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), port, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn ask(&self, name: &str, kind: RecordType) -> Vec<String> {
        ask(self.port, name, kind).unwrap_or_else(|| panic!("no answer:\n{}", self.log()))
    }
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A CoreDNS on Quorate and one on etcd.
struct Pair {
    stores: ServerPair,
    servers: [CoreDns; 2],
}

impl Pair {
    /// Starts both stores and their servers; `None`, reported as a skip, if these programs cannot
    /// be built here.
    fn start(suite: &str) -> Option<Self> {
        // The lowest cost makes hashes of passwords cheap.
        let stores = ServerPair::start(suite, &["--bcrypt-cost=4"])?;
        build();
        let servers = start(&stores, "");
        Some(Self { stores, servers })
    }

    /// Makes the same call to both stores.
    fn call(&self, path: &str, request: &impl Message) {
        for (_, store) in self.stores.both() {
            call(store, path, request).assert_ok();
        }
    }

    /// Makes a call of the service for users to both stores.
    fn auth(&self, method: &str, request: &impl Message) {
        self.call(&format!("/etcdserverpb.Auth/{method}"), request);
    }

    fn put(&self, key: &str, value: &str, lease: i64) {
        let [key, value] = [key, value].map(|text| text.to_owned().into());
        let put = pb::PutRequest { key, value, lease, ..Default::default() };
        self.call("/etcdserverpb.KV/Put", &put);
    }

    fn put_all(&self) {
        for (key, value) in KEYS {
            self.put(&format!("{FOLDER}{key}"), value, 0);
        }
        self.put(REVERSE.0, REVERSE.1, 0);
    }

    /// Checks the answers of both servers.
    #[track_caller]
    fn expect(&self, name: &str, kind: RecordType, expected: &[&str]) {
        for (server, (store, _)) in self.servers.iter().zip(self.stores.both()) {
            assert_eq!(server.ask(name, kind), expected, "{name} {kind} on {store}");
        }
    }

    fn expect_all(&self) {
        for (name, kind, expected) in ANSWERS {
            self.expect(name, kind, expected);
        }
    }

    /// Adds a user with a role of the same name.
    fn add_user(&self, name: &str, password: &str) {
        let [name, password] = [name, password].map(str::to_owned);
        let add = pb::AuthUserAddRequest { name: name.clone(), password, ..Default::default() };
        self.auth("UserAdd", &add);
        self.auth("RoleAdd", &pb::AuthRoleAddRequest { name: name.clone() });
        self.auth(
            "UserGrantRole",
            &pb::AuthUserGrantRoleRequest { user: name.clone(), role: name },
        );
    }
}

/// A CoreDNS on each store. `more` are further settings of its plugin.
fn start(stores: &ServerPair, more: &str) -> [CoreDns; 2] {
    stores.both().map(|(_, store)| CoreDns::start(store, more))
}

#[test]
fn coredns_answers_from_keys_and_sees_changes() {
    let Some(mut pair) = Pair::start("CoreDNS") else { return };
    pair.expect("web.skydns.test.", RecordType::A, MISSING);
    pair.put_all();
    pair.expect_all();

    pair.put(&format!("{FOLDER}web/a"), r#"{"host":"10.0.0.7"}"#, 0);
    let key = format!("{FOLDER}web/b").into();
    let delete = pb::DeleteRangeRequest { key, ..Default::default() };
    pair.call("/etcdserverpb.KV/DeleteRange", &delete);
    pair.expect("web.skydns.test.", RecordType::A, &["web.skydns.test. 300 IN A 10.0.0.7"]);

    // A lease sets the TTL of an answer, within bounds. The end of the lease removes the answer.
    let grant = pb::LeaseGrantRequest { id: LEASE, ttl: LEASE_SECONDS };
    pair.call("/etcdserverpb.Lease/LeaseGrant", &grant);
    pair.put(&format!("{FOLDER}leased"), r#"{"host":"10.0.4.1"}"#, LEASE);
    pair.expect("leased.skydns.test.", RecordType::A, &["leased.skydns.test. 30 IN A 10.0.4.1"]);
    pair.call("/etcdserverpb.Lease/LeaseRevoke", &pb::LeaseRevokeRequest { id: LEASE });
    pair.expect("leased.skydns.test.", RecordType::A, MISSING);

    pair.stores.quorate.kill();
    pair.stores.quorate.start();
    let (name, kind, expected) = ANSWERS[5];
    let again = || (pair.servers[0].ask(name, kind) == expected).then_some(());
    wait::until("an answer after a restart", WITHIN, again);
    pair.stores.assert_sound();
}

#[test]
fn coredns_answers_as_a_user_who_may_only_read() {
    let Some(mut pair) = Pair::start("CoreDNS as a user") else { return };
    pair.put_all();
    pair.add_user("root", "secret");
    pair.add_user("dns", "secret, too");
    let key = FOLDERS.to_owned().into();
    let range_end = FOLDERS_END.to_owned().into();
    let perm = Permission { perm_type: Type::Read.into(), key, range_end };
    let name = "dns".to_owned();
    let grant = pb::AuthRoleGrantPermissionRequest { name, perm: Some(perm) };
    pair.auth("RoleGrantPermission", &grant);
    pair.auth("AuthEnable", &pb::AuthEnableRequest {});

    pair.expect("web.skydns.test.", RecordType::A, UNREADABLE);
    pair.servers = start(&pair.stores, "credentials dns \"secret, too\"");
    pair.expect_all();
    pair.stores.assert_sound();
}
