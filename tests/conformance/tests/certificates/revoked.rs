//! Lists of revoked certificates, at every port.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::certs::Pki;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, client, port, program, wait};
use tempfile::TempDir;

use crate::start_together;
use crate::visitor::Visitor;

/// How long a server may take to use a changed list.
const WITHIN: Duration = Duration::from_secs(5);
/// The lists of revoked certificates of clients, and of members.
const LISTS: [&str; 2] = ["clients.crl", "peers.crl"];

/// A server with both lists and TLS at all ports, the addresses that clients use, and the address
/// of the port for members.
fn start(program: &Path, pki: &Pki) -> (Server, [String; 3], String) {
    let [pages, http] = port::free::<2>().map(|port| format!("127.0.0.1:{port}"));
    let mut flags = [pki.client_flags(), pki.peer_flags()].concat();
    flags.extend([
        format!("--client-crl-file={}", pki.path(LISTS[0]).display()),
        format!("--peer-crl-file={}", pki.path(LISTS[1]).display()),
        format!("--listen-metrics-urls=https://{pages}"),
        format!("--listen-client-http-urls=https://{http}"),
    ]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut server = Server::new(program, &flags).with_tls().with_peer_tls();
    server.start();
    let [clients, members] = [server.address(), server.peer_address()];
    (server, [clients, http, pages], members)
}

/// Waits until a visitor is served at addresses, or refused.
#[track_caller]
fn assert_served(visitor: &Visitor, addresses: &[&str], is_served: bool) {
    for address in addresses {
        let found = wait::within(WITHIN, || {
            (visitor.served_by(address).is_some() == is_served).then_some(())
        });
        assert!(found.is_some(), "{address}: not {is_served}");
    }
}

fn every_port_refuses_revoked_certificates(program: &Path) {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(home.path());
    pki.issue_client("good");
    pki.issue_client("bad");
    LISTS.iter().for_each(|list| pki.revoke(&[], list));
    let (server, clients, members) = start(program, &pki);
    let visitor = |name: &str| Visitor::new(&pki.path("ca.crt"), &pki, name);
    let [good, bad] = ["good", "bad"].map(visitor);
    let clients = clients.each_ref().map(String::as_str);
    let all = [&clients[..], &[&members]].concat();
    assert_served(&good, &all, true);
    assert_served(&bad, &all, true);
    // Each list is for its own ports, and the server uses a new list without a restart.
    pki.revoke(&["bad"], LISTS[0]);
    assert_served(&bad, &clients, false);
    assert_served(&bad, &[&members], true);
    pki.revoke(&["bad"], LISTS[1]);
    assert_served(&bad, &all, false);
    assert_served(&good, &all, true);
    // A certificate that a new list lacks is valid again.
    LISTS.iter().for_each(|list| pki.revoke(&["good"], list));
    assert_served(&bad, &all, true);
    assert_served(&good, &all, false);
    LISTS.iter().for_each(|list| pki.revoke(&[], list));
    assert_served(&good, &all, true);
    drop(server);
}

#[test]
fn revoked_certificates_are_refused_at_every_port() {
    every_port_refuses_revoked_certificates(&program::quorate());
}

#[test]
fn etcd_refuses_revoked_certificates_at_every_port() {
    let Some(etcd) = program::etcd("lists of revoked certificates", "etcd-3.7") else { return };
    every_port_refuses_revoked_certificates(&etcd);
}

/// An unusable list permits no new certificate: the earlier list stays in use.
#[test]
fn a_broken_list_changes_nothing() {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(home.path());
    pki.issue_client("bad");
    pki.revoke(&["bad"], LISTS[0]);
    pki.revoke(&[], LISTS[1]);
    let (server, clients, _) = start(&program::quorate(), &pki);
    let visitor = |name: &str| Visitor::new(&pki.path("ca.crt"), &pki, name);
    let [good, bad] = ["client", "bad"].map(visitor);
    let clients = clients.each_ref().map(String::as_str);
    for broken in [&b"nothing"[..], b""] {
        fs::write(pki.path(LISTS[0]), broken).unwrap();
        assert_served(&good, &clients, true);
        assert_served(&bad, &clients, false);
    }
    assert!(server.log().contains("cannot reload certificates"), "{}", server.log());
    fs::remove_file(pki.path(LISTS[0])).unwrap();
    assert_served(&bad, &clients, false);
    pki.revoke(&[], LISTS[0]);
    assert_served(&bad, &clients, true);
}

/// The certificate of `m2` is revoked: the others refuse its calls, until a new list comes.
#[test]
fn members_refuse_the_calls_of_a_revoked_one() {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(home.path());
    pki.revoke(&[], LISTS[1]);
    let mut members = ["m0", "m1", "m2"].map(|name| {
        pki.issue_member(name);
        let list = format!("--peer-crl-file={}", pki.path(LISTS[1]).display());
        let mut flags = pki.peer_flags();
        for flag in &mut flags {
            *flag = flag.replace("server.", &format!("{name}."));
        }
        flags.push(list);
        // At this level, each refusal is logged.
        flags.push("--log-level=debug".to_owned());
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Server::new(&program::quorate(), &flags).named(name).with_peer_tls()
    });
    start_together(&mut members);
    let is_refused = |log: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains("CN=m2 is in the list of revoked certificates"))
    };
    assert!(!members.iter().any(|member| is_refused(&member.log())));
    pki.revoke(&["m2"], LISTS[1]);
    members[2].stop();
    members[2].spawn();
    for member in &members[..2] {
        wait::until("m2 is refused", Duration::from_secs(30), || {
            is_refused(&member.log()).then_some(())
        });
    }
    pki.revoke(&[], LISTS[1]);
    members[2].wait_until_ready();
    // Without `m1`, `m0` needs `m2` for a majority.
    members[1].stop();
    let put = pb::PutRequest { key: "key".into(), value: "value".into(), ..Default::default() };
    block_on(async { KvClient::new(client::channel(&members[2].url())).put(put).await }).unwrap();
}
