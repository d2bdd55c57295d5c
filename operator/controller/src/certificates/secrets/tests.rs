//! The list of Secrets, their renewal and their content.

use quorate_crd::duration::Span;
use quorate_crd::v1alpha1::{Client, QuorateClusterSpec};
use x509_parser::pem::parse_x509_pem;

use super::*;

const DOMAIN: &str = "cluster.local";

fn cluster(lifetime: &str) -> QuorateCluster {
    let mut spec = QuorateClusterSpec::default();
    spec.tls.lifetime = Span::from(lifetime);
    spec.tls.extra_names = vec!["store.example.com".to_owned(), "localhost".to_owned()];
    spec.clients = vec![Client { name: "apiserver".to_owned(), user: Some("root".to_owned()) }];
    let mut cluster = QuorateCluster::new("main", spec);
    cluster.metadata.namespace = Some("team".to_owned());
    cluster.metadata.uid = Some("the-uid".to_owned());
    cluster
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn authorities(cluster: &QuorateCluster) -> (Authority, Authority) {
    let wanted = wanted(cluster, DOMAIN, []);
    let made = |wanted: &Wanted| {
        let Purpose::Authority(name) = &wanted.purpose else { panic!("{wanted:?}") };
        let secret = filled_authority(cluster, wanted, name, now()).unwrap();
        Authority::try_from(&secret).unwrap()
    };
    (made(&wanted[0]), made(&wanted[1]))
}

fn fill(cluster: &QuorateCluster, wanted: &Wanted) -> Secret {
    let (clients, peers) = authorities(cluster);
    let owner = Owner::Cluster(cluster);
    filled(cluster, wanted, owner, (&clients, &peers), now()).unwrap().unwrap()
}

#[track_caller]
fn common_name(secret: &Secret, key: &str) -> String {
    let pem = &secret.data.as_ref().unwrap()[key].0;
    let (_, pem) = parse_x509_pem(pem).unwrap();
    pem.parse_x509().unwrap().subject().to_string()
}

#[test]
fn a_cluster_has_two_authorities_and_a_secret_for_each_client_and_member() {
    let wanted = wanted(&cluster("2160h"), DOMAIN, ["main-1"]);
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    let expected =
        ["main-client-ca", "main-peer-ca", "main-operator", "main-client-apiserver", "main-1"];
    assert_eq!(names, expected);
}

#[test]
fn a_member_has_a_certificate_for_clients_and_one_for_members() {
    let cluster = cluster("2160h");
    let wanted = wanted(&cluster, DOMAIN, ["main-1"]).pop().unwrap();
    let Purpose::Member { client, peer, .. } = &wanted.purpose else { panic!("{wanted:?}") };
    let expected = [
        "main-client",
        "main-client.team",
        "main-client.team.svc",
        "main-client.team.svc.cluster.local",
        "main-1.main-peer.team.svc.cluster.local",
        "main-1.main-peer.team.svc",
        "localhost",
        "127.0.0.1",
        "::1",
        "store.example.com",
    ];
    assert_eq!(client.names, expected);
    assert_eq!(peer.names, &expected[4..6]);
    let secret = fill(&cluster, &wanted);
    assert_eq!(common_name(&secret, files::CLIENT_CERTIFICATE), "CN=main-1");
    assert_eq!(common_name(&secret, files::PEER_CERTIFICATE), "CN=the-uid");
    let labels = secret.metadata.labels.unwrap();
    assert_eq!(labels[names::LABEL_MEMBER], "main-1");
}

#[test]
fn a_client_has_the_names_that_programs_look_for() {
    let cluster = cluster("2160h");
    let secret = fill(&cluster, &wanted(&cluster, DOMAIN, [])[3]);
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    let keys: Vec<&str> = secret.data.as_ref().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["apiserver-etcd-client.crt", "apiserver-etcd-client.key", "ca.crt", "tls.crt", "tls.key"];
    assert_eq!(keys, expected);
    assert_eq!(common_name(&secret, TLS_CERTIFICATE), "CN=root");
    let identity = identity(&secret).unwrap();
    assert!(identity.certificate.starts_with("-----BEGIN CERTIFICATE"));
    assert!(!format!("{identity:?}").contains("BEGIN PRIVATE"));
}

#[test]
fn an_identity_with_a_damaged_part_is_none() {
    let cluster = cluster("2160h");
    let secret = fill(&cluster, &wanted(&cluster, DOMAIN, [])[2]);
    assert!(identity(&secret).is_ok());
    for key in [CA_CERTIFICATE, TLS_CERTIFICATE, TLS_KEY] {
        let mut emptied = secret.clone();
        emptied.data.as_mut().unwrap().insert(key.to_owned(), ByteString(Vec::new()));
        assert!(identity(&emptied).is_err(), "{key}");
        let mut without = secret.clone();
        without.data.as_mut().unwrap().remove(key);
        assert!(identity(&without).is_err(), "{key}");
    }
}

#[test]
fn certificates_are_renewed_after_two_thirds_of_their_life() {
    let cluster = cluster("3m");
    let client = &wanted(&cluster, DOMAIN, [])[3];
    let metadata = fill(&cluster, client).metadata;
    let after = |seconds| now() + Duration::from_secs(seconds);
    assert!(!client.is_stale(&metadata, after(119)));
    assert!(client.is_stale(&metadata, after(120)));
    let validity = validity(&metadata).unwrap();
    assert_eq!(validity, Validity { expires: after(180), renewed: after(120) });
    assert_eq!(validity.issued(), now());
    assert!(client.is_stale(&ObjectMeta::default(), now()));
}

#[test]
fn certificates_follow_the_spec() {
    let metadata = {
        let cluster = cluster("3m");
        fill(&cluster, &wanted(&cluster, DOMAIN, [])[3]).metadata
    };
    assert!(wanted(&cluster("4m"), DOMAIN, [])[3].is_stale(&metadata, now()));
    let mut other = cluster("3m");
    other.spec.clients[0].user = None;
    assert!(wanted(&other, DOMAIN, [])[3].is_stale(&metadata, now()));
}

#[test]
fn an_authority_is_never_renewed_in_place() {
    let authority = &wanted(&cluster("3m"), DOMAIN, [])[0];
    assert!(!authority.is_stale(&ObjectMeta::default(), now() + AUTHORITY_LIFETIME));
}
