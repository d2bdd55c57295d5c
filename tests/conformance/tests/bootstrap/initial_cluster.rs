//! Clusters whose founders are named by flags.

use std::time::Duration;

use quorate_proto::etcdserverpb::Member;
use quorate_test_support::certs::Pki;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{assert_contains, http2, program, wait};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{assert_ended, cluster, refusal, wipe};

/// How long a member may take to found its cluster anew without data, and to log a rejection.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

fn names(members: &[Member]) -> Vec<&str> {
    let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn peer_tls_admits_members_only() {
    let mut cluster = Cluster::start_new_with_tls(
        &program::quorate(),
        3,
        &["--peer-cert-allowed-cn=server", "--tls-min-version=TLS1.3"],
    );
    for by in 0..3 {
        cluster.put(by, &format!("key{by}"), "value");
    }
    for by in 0..3 {
        assert_eq!(cluster.get(by, &format!("key{}", (by + 1) % 3)), Some("value".to_owned()));
        assert_eq!(names(&cluster.list(by)), ["m1", "m2", "m3"]);
    }
    let pki = &cluster.pki().unwrap().clone();
    let folder = tempfile::tempdir().unwrap();
    let other = Pki::new(folder.path());
    let url = cluster.members[0].peer_url();
    assert_eq!(shake(&url, pki, Some((pki, "server"))), Ok(()));
    for stranger in [None, Some((&other, "server")), Some((pki, "client"))] {
        let refused = shake(&url, pki, stranger).unwrap_err();
        assert!(refused.contains("alert"), "{refused}");
    }
    // As in etcd, a certificate for another address is rejected after the handshake. Not every
    // rejection is logged.
    let says = || {
        shake(&url, pki, Some((pki, "elsewhere"))).unwrap_err();
        let said = cluster.members[0].log();
        let is_said = ["10.9.9.9", "rejected a connection"].iter().all(|text| said.contains(text));
        is_said.then_some(())
    };
    wait::until("the member logs the rejection", NOTICED_WITHIN, says);
    cluster.members[0].stop();
    cluster.members[0].add_flags(&["--peer-skip-client-san-verification"]);
    cluster.members[0].start();
    assert_eq!(shake(&url, pki, Some((pki, "elsewhere"))), Ok(()));
    // A restart uses the data directory and ignores the flags for founding.
    cluster.stop();
    for member in &mut cluster.members {
        member.set_initial_cluster(&[
            "--initial-cluster=x=https://127.0.0.1:1",
            "--initial-cluster-token=x",
        ]);
    }
    cluster.start();
    assert_eq!(cluster.get(0, "key2"), Some("value".to_owned()));
}

/// Makes a TLS handshake with or without a client certificate, and exchanges the first HTTP/2
/// frames: with TLS 1.3, the client learns only from the first read that it is rejected.
fn shake(url: &str, trusted: &Pki, shown: Option<(&Pki, &str)>) -> Result<(), String> {
    use std::io::{Read as _, Write as _};
    let mut authorities = rustls::RootCertStore::empty();
    authorities.add(CertificateDer::from_pem_file(trusted.path("ca.crt")).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(authorities);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((pki, name)) => {
            let chain = CertificateDer::from_pem_file(pki.path(&format!("{name}.crt"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(pki.path(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut session = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut socket = std::net::TcpStream::connect(url.strip_prefix("https://").unwrap()).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    // HTTP/2 starts with the client's preface and settings; the server answers with its settings.
    let mut answer = [0; 9];
    let spoken =
        stream.write_all(&http2::connection(&[])).and_then(|()| stream.read_exact(&mut answer));
    spoken.map_err(|error| error.to_string())
}

#[test]
fn a_member_with_another_token_is_refused() {
    let mut cluster = cluster(3);
    let stranger = &mut cluster.members[2];
    stranger.kill();
    wipe(stranger);
    stranger.add_flags(&["--initial-cluster-token=other"]);
    assert_contains(&refusal(stranger), &["cluster ID mismatch", "--initial-cluster-token"]);
    assert!(!stranger.data_dir().join("member/IDENTITY").exists());
}

#[test]
fn a_member_without_its_data_returns_only_under_a_new_id() {
    let mut cluster = cluster(3);
    cluster.put(0, "key", "value");
    cluster.members[2].kill();
    wipe(&cluster.members[2]);
    let said = refusal(&mut cluster.members[2]);
    let way_out = ["member remove ", "member add m3", "--initial-cluster-state=existing"];
    assert_contains(&said, &["has already been bootstrapped"]);
    assert_contains(&said, &way_out);
    // With the state `existing`, it has the same id, and is refused again.
    let listed = format!("--initial-cluster={}", cluster.initial_cluster());
    cluster.members[2].set_initial_cluster(&[&listed, "--initial-cluster-state=existing"]);
    assert_contains(&refusal(&mut cluster.members[2]), &["has already been bootstrapped"]);
    // The remedy: remove the member and add it again.
    cluster.remove(0, 2);
    cluster.members[2].set_initial_cluster(&[&listed]);
    assert_contains(&refusal(&mut cluster.members[2]), &["was removed from the cluster"]);
    cluster.add_again(0, 2);
    cluster.members[2].start();
    assert_eq!(cluster.get(2, "key"), Some("value".to_owned()));
    assert_eq!(names(&cluster.list(2)), ["m1", "m2", "m3"]);
}

#[test]
fn a_member_without_its_data_stops_when_the_others_start() {
    let mut cluster = cluster(3);
    cluster.stop();
    wipe(&cluster.members[2]);
    // No other member is running that could refuse it.
    cluster.members[2].spawn();
    let identity = cluster.members[2].data_dir().join("member/IDENTITY");
    wait::until("founded anew", NOTICED_WITHIN, || identity.exists().then_some(()));
    cluster.members[0].spawn();
    cluster.members[1].spawn();
    assert_ended(&mut cluster.members[2], Some("other-data"));
    assert_contains(&cluster.members[2].log_of_run(), &["another data directory", "add it again"]);
    cluster.members[0].wait_until_ready();
    cluster.members[1].wait_until_ready();
    cluster.put(0, "key", "value");
}

#[test]
fn a_removed_member_stops() {
    let mut cluster = cluster(3);
    cluster.remove(0, 2);
    let removed = &mut cluster.members[2];
    assert_ended(removed, Some("removed"));
    let text = "the member has been permanently removed from the cluster";
    assert_contains(&removed.log_of_run(), &[text]);
    // It also stops each time it is started again.
    removed.spawn();
    assert_ended(removed, Some("removed"));
    assert_contains(&removed.log_of_run(), &[text]);
    cluster.put(0, "key", "value");
    assert_eq!(names(&cluster.list(1)), ["m1", "m2"]);
}

#[test]
fn a_removed_leader_stops() {
    let mut cluster = cluster(3);
    let (leader, _) = cluster.leader();
    let by = (leader + 1) % 3;
    cluster.remove(by, leader);
    let removed = &mut cluster.members[leader];
    assert_ended(removed, Some("removed"));
    cluster.put(by, "key", "value");
}
