//! Authentication. Every method checks it, and it outlives the process, but tokens do not. Every
//! member knows tokens and checks permissions, and a certificate can be a login.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorSet;
use quorate_proto::authpb::UserAddOptions;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Answer, Connection, frame};
use quorate_test_support::certs::Pki;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::require::{Need, met};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program, wait};

/// Makes hashes of passwords cheap.
const CHEAP: &str = "--bcrypt-cost=4";
const PASSWORD: &str = "secret";
const WITHIN: Duration = Duration::from_secs(30);

/// Calls a method with a token, if there is one, and waits for the end.
fn call(address: &str, path: &str, token: Option<&str>, request: &impl Message) -> Answer {
    block_on(async {
        let connection = Connection::open(address).await;
        let mut head = Connection::request(path);
        if let Some(token) = token {
            head.headers_mut().insert("token", token.parse().unwrap());
        }
        connection.call(head, frame(&request.encode_to_vec())).await
    })
}

fn auth(address: &str, method: &str, token: Option<&str>, request: &impl Message) -> Answer {
    call(address, &format!("/etcdserverpb.Auth/{method}"), token, request)
}

/// Adds a user with a role. Without a password, only a certificate is a login.
fn add_user(address: &str, name: &str, role: &str, password: Option<&str>) {
    let options = Some(UserAddOptions { no_password: password.is_none() });
    let add = pb::AuthUserAddRequest {
        name: name.to_owned(),
        password: password.unwrap_or_default().to_owned(),
        options,
        ..Default::default()
    };
    auth(address, "UserAdd", None, &add).assert_ok();
    let [user, role] = [name, role].map(str::to_owned);
    auth(address, "UserGrantRole", None, &pb::AuthUserGrantRoleRequest { user, role }).assert_ok();
}

fn enable(address: &str) {
    auth(address, "AuthEnable", None, &pb::AuthEnableRequest {}).assert_ok();
}

/// Adds `root`, and `alice` without rights, and turns authentication on.
fn enable_with_users(address: &str) {
    add_user(address, "root", "root", Some(PASSWORD));
    let none = pb::AuthRoleAddRequest { name: "none".to_owned() };
    auth(address, "RoleAdd", None, &none).assert_ok();
    add_user(address, "alice", "none", Some(PASSWORD));
    enable(address);
}

fn token(address: &str, name: &str) -> String {
    let [name, password] = [name, PASSWORD].map(str::to_owned);
    let answer = auth(address, "Authenticate", None, &pb::AuthenticateRequest { name, password });
    answer.assert_ok();
    answer.decode::<pb::AuthenticateResponse>().token
}

fn put(address: &str, token: Option<&str>) -> Answer {
    let put = pb::PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
    call(address, "/etcdserverpb.KV/Put", token, &put)
}

#[track_caller]
fn assert_refused(answer: &Answer, code: &str, text: &str) {
    let refused = (answer.code.as_deref(), answer.message.as_str());
    assert_eq!(refused, (Some(code), text), "{answer:?}");
}

#[track_caller]
fn assert_unknown(answer: &Answer) {
    assert_refused(answer, "3", "etcdserver: user name is empty");
}

#[track_caller]
fn assert_no_token(answer: &Answer) {
    assert_refused(answer, "16", "etcdserver: invalid auth token");
}

/// The paths of all methods.
fn methods() -> Vec<String> {
    let files = FileDescriptorSet::decode(quorate_proto::FILE_DESCRIPTOR_SET).unwrap().file;
    let mut paths = Vec::new();
    for file in &files {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            let path =
                |method: &prost_types::MethodDescriptorProto| format!("/{name}/{}", method.name());
            paths.extend(service.method.iter().map(path));
        }
    }
    paths
}

#[test]
fn no_method_answers_a_client_without_rights() {
    let server = Server::start_new(&program::quorate(), &[CHEAP]);
    let address = server.address();
    enable_with_users(&address);
    let alice = token(&address, "alice");
    // Any user may call these methods, at least without content.
    let of_users =
        ["LeaseGrant", "LeaseRevoke", "LeaseKeepAlive", "LeaseTimeToLive", "LeaseLeases"];
    let of_users = [&of_users[..], &["MemberList", "Alarm", "Status", "Txn"]].concat();
    // These methods know the user, and then refuse a request without content for another reason.
    let incomplete = ["Proclaim", "Resign", "Unlock", "UserGet", "RoleGet"];
    let methods = methods();
    assert!(methods.len() > 50, "{methods:?}");
    for path in methods {
        let (service, method) = path.rsplit_once('/').unwrap();
        let is_open = service.ends_with("Health") || method == "AuthStatus";
        if is_open || method == "Authenticate" {
            continue;
        }
        let is_plain = service.ends_with("Lock") || service.ends_with("Election");
        let [unknown, denied, bad] = if is_plain { ["2", "2", "2"] } else { ["3", "7", "16"] };
        let ask = |token| call(&address, &path, token, &pb::AuthStatusRequest {});
        if method == "Watch" {
            continue;
        }
        println!("{path}");
        assert_refused(&ask(None), unknown, "etcdserver: user name is empty");
        assert_refused(&ask(Some("x.1")), bad, "etcdserver: invalid auth token");
        if !of_users.contains(&method) && !incomplete.contains(&method) {
            let answer = ask(Some(&alice));
            let is_invalid = answer.code.as_deref() == Some("3") && method != "Compact";
            // Reads first check that there is a key.
            if !(is_invalid && answer.message == "etcdserver: key is not provided") {
                assert_refused(&answer, denied, "etcdserver: permission denied");
            }
        }
    }
}

#[test]
fn it_outlives_the_process_and_tokens_do_not() {
    let mut server = Server::start_new(&program::quorate(), &[CHEAP]);
    let address = server.address();
    enable_with_users(&address);
    let mut root = token(&address, "root");
    put(&address, Some(&root)).assert_ok();
    // After a kill, the server reads the log. After a stop, it reads the complete database.
    for kills in [true, false] {
        if kills {
            server.kill();
        } else {
            server.stop();
        }
        server.start();
        assert_unknown(&put(&address, None));
        assert_no_token(&put(&address, Some(&root)));
        root = token(&address, "root");
        put(&address, Some(&root)).assert_ok();
    }
}

#[test]
fn every_member_knows_tokens_and_checks_rights() {
    let cluster = Cluster::start_new_in_turn(&program::quorate(), 3, &[CHEAP]);
    let addresses: Vec<String> = cluster.members.iter().map(Server::address).collect();
    enable_with_users(&addresses[0]);
    for by in &addresses {
        let [root, alice] = ["root", "alice"].map(|user| token(by, user));
        for at in &addresses {
            put(at, Some(&root)).assert_ok();
            assert_refused(&put(at, Some(&alice)), "7", "etcdserver: permission denied");
            assert_unknown(&put(at, None));
        }
    }
    // A change of permissions counts at once at every member.
    let root = token(&addresses[0], "root");
    let alice = token(&addresses[2], "alice");
    for (number, at) in addresses.iter().enumerate() {
        let grant = pb::AuthUserGrantRoleRequest { user: "alice".into(), role: "root".into() };
        auth(&addresses[0], "UserGrantRole", Some(&root), &grant).assert_ok();
        assert_allowed(&put(at, Some(&alice)), "a granted right", number);
        let revoke = pb::AuthUserRevokeRoleRequest { name: "alice".into(), role: "root".into() };
        auth(&addresses[0], "UserRevokeRole", Some(&root), &revoke).assert_ok();
        let refused = put(at, Some(&alice));
        let text = refused.message.as_str();
        let old = "etcdserver: revision of auth store is old";
        assert!([old, "etcdserver: permission denied"].contains(&text), "{refused:?}");
    }
    let delete = pb::AuthUserDeleteRequest { name: "alice".to_owned() };
    auth(&addresses[0], "UserDelete", Some(&root), &delete).assert_ok();
    for at in &addresses {
        wait::until("the token ends", WITHIN, || {
            let refused = put(at, Some(&alice));
            assert_ne!(refused.code.as_deref(), Some("0"));
            (refused.code.as_deref() == Some("16")).then_some(())
        });
    }
}

/// A member that lags behind may ask the client to try again.
#[track_caller]
fn assert_allowed(answer: &Answer, what: &str, member: usize) {
    let is_old = answer.message == "etcdserver: revision of auth store is old";
    assert!(is_old || answer.code.as_deref() == Some("0"), "{what} at {member}: {answer:?}");
}

#[test]
fn wrong_passwords_do_not_hold_up_other_calls() {
    let server = Server::start_new(&program::quorate(), &["--bcrypt-cost=12"]);
    let address = server.address();
    enable_with_users(&address);
    let root = token(&address, "root");
    let flood = || {
        let [name, password] = ["root", "wrong"].map(str::to_owned);
        let request = pb::AuthenticateRequest { name, password };
        auth(&address, "Authenticate", None, &request)
    };
    thread::scope(|scope| {
        let guesses: Vec<_> = (0..8).map(|_| scope.spawn(flood)).collect();
        // These puts end although the guesses take all turns for passwords.
        let answers: Vec<Answer> = (0..20).map(|_| put(&address, Some(&root))).collect();
        answers.iter().for_each(Answer::assert_ok);
        for guess in guesses {
            let answer = guess.join().unwrap();
            assert_ne!(answer.code.as_deref(), Some("0"), "{answer:?}");
        }
    });
}

/// Makes a request with curl; returns the status and the body.
fn curl(url: &str, more: &[&str]) -> (String, String) {
    let output =
        Command::new("curl").args(["-s", "-w", "\n%{http_code}"]).args(more).arg(url).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.to_owned(), body.to_owned())
}

/// Makes a request with curl and the certificate of `pki`; returns the status and the body.
fn certified(pki: &Pki, address: &str, path: &str, more: &[&str]) -> (String, String) {
    let file = |name: &str| pki.path(name).display().to_string();
    let [authority, certificate, key] = ["ca.crt", "client.crt", "client.key"].map(file);
    let tls = ["--http1.1", "--cacert", &authority, "--cert", &certificate, "--key", &key];
    curl(&format!("https://{address}{path}"), &[&tls, more].concat())
}

fn etcdctl(path: &Path, pki: &Pki, address: &str, words: &[&str]) -> String {
    let file = |name: &str| pki.path(name).display().to_string();
    let output = Command::new(path)
        .args(["--endpoints", &format!("https://{address}"), "--cacert", &file("ca.crt")])
        .args(["--cert", &file("client.crt"), "--key", &file("client.key")])
        .args(words)
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    out + &err
}

#[test]
fn a_certificate_is_a_login_but_not_for_the_gateway() {
    let Some(program) = program::etcd("logins by certificate", "etcdctl") else { return };
    if !met("logins by certificate", &[Need::Program("curl")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path());
    let flags = pki.client_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain([CHEAP]).collect();
    let mut server = Server::new(&program::quorate(), &flags).with_tls();
    server.start();
    let address = server.address();
    let run = |words: &[&str]| etcdctl(&program, &pki, &address, words);
    let json = r#"{"key":"YQ==","value":"MQ=="}"#;
    let post = ["-X", "POST", "-d", json];
    assert_eq!(certified(&pki, &address, "/v3/kv/put", &post).0, "200");
    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "add", "client", "--no-password"],
        &["role", "add", "role"],
        &["role", "grant-permission", "role", "readwrite", "a"],
        &["user", "grant-role", "client", "role"],
        &["auth", "enable"],
    ] {
        let said = run(words);
        assert!(!said.contains("Error"), "{words:?}: {said}");
    }
    assert_eq!(run(&["put", "a", "2"]), "OK\n");
    let refused = run(&["put", "b", "2"]);
    assert!(refused.contains("permission denied"), "{refused}");
    assert_eq!(run(&["--user", "root:secret", "put", "b", "2"]), "OK\n");
    let ignored = "CommonName of client sending a request against gateway will be ignored and \
                   not used as expected\n";
    for path in ["/v3/kv/put", "/v3beta/kv/put", "/v1/keys/a"] {
        let (status, body) = certified(&pki, &address, path, &post);
        assert_eq!((status.as_str(), body.as_str()), ("400", ignored), "{path}");
    }
    let upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket"];
    assert_eq!(certified(&pki, &address, "/v3/watch", &upgrade), ("400".into(), ignored.into()));
    assert_eq!(certified(&pki, &address, "/health", &[]).0, "200");
    // The page of the status only reads.
    assert_eq!(certified(&pki, &address, "/status", &[]).0, "200");
}

/// Makes a request with curl and without TLS; returns the status and the body.
fn web(address: &str, path: &str, more: &[&str]) -> (String, String) {
    curl(&format!("http://{address}{path}"), more)
}

#[test]
fn the_gateway_and_keys_as_text_take_tokens() {
    if !met("tokens of web requests", &[Need::Program("curl")]) {
        return;
    }
    let server = Server::start_new(&program::quorate(), &[CHEAP]);
    let address = server.address();
    enable_with_users(&address);
    let [root, alice] = ["root", "alice"].map(|user| token(&address, user));
    let json = r#"{"key":"YQ==","value":"MQ=="}"#;
    for (path, method) in [("/v3/kv/put", "POST"), ("/v1/keys/a", "PUT")] {
        let status = |headers: &[&str]| {
            let headers = headers.iter().flat_map(|header| ["-H", header]);
            let more: Vec<&str> = ["-X", method, "-d", json].into_iter().chain(headers).collect();
            web(&address, path, &more).0
        };
        assert_eq!(status(&[]), "400", "{path}");
        assert_eq!(status(&["Authorization: bad.1"]), "401", "{path}");
        assert_eq!(status(&[&format!("Authorization: {alice}")]), "403", "{path}");
        assert_eq!(status(&[&format!("Authorization: {root}")]), "200", "{path}");
        assert_eq!(status(&[&format!("Authorization: Bearer {root}")]), "200", "{path}");
        assert_eq!(status(&[&format!("Grpc-Metadata-Token: {root}")]), "200", "{path}");
    }
    for path in ["/status", "/debug/vars"] {
        assert_eq!(web(&address, path, &[]).0, "401", "{path}");
        let token = format!("Authorization: {alice}");
        assert_eq!(web(&address, path, &["-H", &token]).0, "200", "{path}");
    }
    // Health needs no login.
    for path in ["/health", "/livez", "/readyz", "/metrics"] {
        assert_eq!(web(&address, path, &[]).0, "200", "{path}");
    }
}
