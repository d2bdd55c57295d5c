//! Listen addresses, and the notification of the service manager.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_test_support::certs::Pki;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::{http, port, program};

use crate::PATIENCE;

fn has_ipv6() -> bool {
    require::met("listening", &[Need::Ipv6])
}

/// A server that serves `/metrics` at `url` as well.
fn with_pages_at(url: &str) -> Server {
    Server::new(&program::quorate(), &[&format!("--listen-metrics-urls={url}")])
}

#[test]
fn an_unspecified_address_serves_ipv4_and_ipv6() {
    if !has_ipv6() {
        return;
    }
    for host in ["0.0.0.0", "[::]"] {
        let [port] = port::free();
        let mut server = with_pages_at(&format!("http://{host}:{port}"));
        server.start();
        for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
            assert!(http::get(&address, "/metrics").is_some(), "{host} serves {address}");
        }
        server.stop();
    }
}

#[test]
fn a_port_in_use_is_reported() {
    let taken = ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"];
    for taken in &taken[..if has_ipv6() { 4 } else { 1 }] {
        let taken = TcpListener::bind(taken).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut server = with_pages_at(&format!("http://0.0.0.0:{port}"));
        server.spawn();
        assert_eq!(server.wait_for_end().code(), Some(1), "{taken:?}");
        let said = format!("--listen-metrics-urls: cannot listen at 0.0.0.0:{port}");
        assert!(server.log().contains(&said), "{}", server.log_tail());
    }
}

#[test]
fn a_unix_socket_is_removed_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut server = with_pages_at(&format!("unix://{}", path.display()));
    server.start();
    assert!(path.exists());
    server.stop();
    assert!(!path.exists());
}

#[test]
fn systemd_is_notified() {
    let name = format!("quorate-test-listening-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = format!("NOTIFY_SOCKET=@{name}");
    let mut server = Server::new(&program::quorate(), &[]).with_launcher(&["env", &told]);
    server.start();
    let mut said = [0; 64];
    let length = manager.recv(&mut said).unwrap();
    assert_eq!(&said[..length], b"READY=1");
    server.stop();
    // A missing socket is logged and does not keep the server from serving.
    let mut server =
        Server::new(&program::quorate(), &[]).with_launcher(&["env", "NOTIFY_SOCKET=/nowhere"]);
    server.start();
    server.stop();
    assert!(server.log_of_run().contains("cannot notify the service manager"));
}

/// The members change one by one: first they all get certificates, then https URLs.
#[test]
fn members_switch_from_http_to_https_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let flags = Pki::new(folder.path()).peer_flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    for place in 0..3 {
        let member = &mut cluster.members[place];
        member.stop();
        member.add_flags(&flags);
        member.start();
    }
    for place in 0..3 {
        let url = cluster.members[place].peer_url().replace("http://", "https://");
        let id = cluster.member_id(place);
        let change = pb::MemberUpdateRequest { id, peer_urls: vec![url] };
        let mut client = ClusterClient::new(cluster.channel((place + 1) % 3));
        cluster.block_on(client.member_update(change)).unwrap();
        let member = &mut cluster.members[place];
        member.stop();
        member.set_peer_tls();
        member.start();
    }
    // Every member knows the leader, so all can reach each other.
    cluster.leader();
    cluster.stop();
}
