//! Tests TLS files, handshakes and allowed names with certificates that the tests issue.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::{Allowed, TlsFlags, TlsRules, TlsVersion};

const FLAGS: TlsFlags =
    TlsFlags { certificate: "cert-file", key: "key-file", authorities: "trusted-ca-file" };
const RULES: TlsRules = TlsRules { oldest: TlsVersion::V12, newest: TlsVersion::V13, suites: None };

/// A CA that issues certificates.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Creates a CA and writes its certificate to `NAME.crt`.
    fn new(home: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(home.join(format!("{name}.crt")), certificate.pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// Issues a certificate with this common name for localhost.
    fn issue(&self, home: &Path, name: &str) -> ServerTls {
        self.issue_for(home, name, &["localhost"])
    }

    /// Issues a certificate with this common name for these hosts and addresses.
    fn issue_for(&self, home: &Path, name: &str, hosts: &[&str]) -> ServerTls {
        self.issue_with(home, name, hosts, &KeyPair::generate().unwrap())
    }

    /// Issues a certificate for an existing key.
    fn issue_with(&self, home: &Path, name: &str, hosts: &[&str], key: &KeyPair) -> ServerTls {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(key, &self.0).unwrap();
        let files = ServerTls {
            certificate: home.join(format!("{name}.crt")),
            key: home.join(format!("{name}.key")),
            authorities: Some(home.join("ca.crt")),
            revoked: None,
            allowed: None,
            rules: RULES,
            flags: &FLAGS,
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

/// The same files for the client side.
fn as_client(files: &ServerTls) -> ClientTls {
    ClientTls {
        pair: Some((files.certificate.clone(), files.key.clone())),
        authorities: files.authorities.clone(),
        allowed: files.allowed.clone(),
        server_name: None,
        verifies: true,
        rules: RULES,
        flags: &FLAGS,
    }
}

/// Performs a handshake. The error says which side refused the other, and why.
async fn shake(server: &ServerTls, client: &ClientTls) -> Result<(), String> {
    let acceptor = TlsAcceptor::from(Tls::server(server.clone()).unwrap().current());
    let connector = TlsConnector::from(Tls::client(client.clone()).unwrap().current());
    let (here, there) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let (accepted, connected) = tokio::join!(acceptor.accept(here), connector.connect(name, there));
    accepted.map_err(|error| format!("server: {error}"))?;
    connected.map_err(|error| format!("client: {error}"))?;
    Ok(())
}

#[tokio::test]
async fn only_peers_with_a_certificate_of_the_authority_are_accepted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let a = authority.issue(home, "a");
    let b = authority.issue(home, "b");
    assert_eq!(shake(&a, &as_client(&b)).await, Ok(()));
    // A client without a certificate, and one with a certificate of another CA.
    let stranger = Authority::new(home, "other").issue(home, "stranger");
    let anonymous = ClientTls { pair: None, ..as_client(&b) };
    for client in [anonymous, as_client(&stranger)] {
        assert!(shake(&a, &client).await.unwrap_err().starts_with("server: "));
    }
    let refused = shake(&stranger, &as_client(&b)).await.unwrap_err();
    assert!(refused.contains("UnknownCA") || refused.contains("UnknownIssuer"), "{refused}");
    let trusting = ClientTls { verifies: false, authorities: None, ..as_client(&b) };
    assert_eq!(shake(&stranger, &trusting).await, Ok(()));
}

#[tokio::test]
async fn clients_with_a_revoked_certificate_are_refused() {
    use crate::config::RevokedFile;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let server = authority.issue(home, "server");
    let (good, bad) = (authority.issue(home, "good"), authority.issue(home, "bad"));
    let bad_one = CertificateDer::from_pem_file(&bad.certificate).unwrap();
    let list = |serials: &[Vec<u8>]| {
        let time = rcgen::date_time_ymd;
        let revoked = |serial: &Vec<u8>| rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from_slice(serial),
            revocation_time: time(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = rcgen::CertificateRevocationListParams {
            this_update: time(2021, 1, 1),
            next_update: time(2022, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&authority.0).unwrap()
    };
    let path = home.join("crl");
    let revoked = Some(RevokedFile { flag: "client-crl-file", path: path.clone() });
    let with_list = ServerTls { revoked, ..server.clone() };
    assert!(Tls::server(with_list.clone()).is_err(), "there is no list yet");
    let serial = certificate::Certificate::parse(&bad_one).unwrap().serial;
    fs::write(&path, list(&[]).pem().unwrap()).unwrap();
    let tls = Tls::server(with_list.clone()).unwrap();
    let before = tls.current();
    assert_eq!(shake(&with_list, &as_client(&bad)).await, Ok(()));
    let with_bad = list(&[serial]);
    for content in [with_bad.pem().unwrap().into_bytes(), with_bad.der().to_vec()] {
        fs::write(&path, content).unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.current()), "a changed list is read");
        assert_eq!(shake(&with_list, &as_client(&good)).await, Ok(()));
        let refused = shake(&with_list, &as_client(&bad)).await.unwrap_err();
        assert!(refused.contains("Revoked"), "{refused}");
        assert_eq!(shake(&server, &as_client(&bad)).await, Ok(()));
    }
}

#[tokio::test]
async fn only_the_chosen_cipher_suites_are_used() {
    use rustls::CipherSuite;
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = Authority::new(home, "ca").issue(home, "a");
    let rules = |newest, suites: &[CipherSuite]| TlsRules {
        newest,
        suites: Some(suites.to_vec()),
        ..RULES
    };
    let one = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let other = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let (old, new) = (TlsVersion::V12, TlsVersion::V13);
    for (server, client, is_good) in [
        (rules(old, &[one]), rules(old, &[one, other]), true),
        (rules(old, &[one]), rules(old, &[other]), false),
        // The suites of TLS 1.3 are always there.
        (rules(new, &[one]), rules(new, &[other]), true),
    ] {
        let server = ServerTls { rules: server, ..files.clone() };
        let client = ClientTls { rules: client, ..as_client(&files) };
        assert_eq!(shake(&server, &client).await.is_ok(), is_good);
    }
}

#[test]
fn certificates_are_made_once_and_again_before_they_end() {
    use crate::config::SelfSigned;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("fixtures/client");
    let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()].to_vec();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    let wanted = SelfSigned { certificate: certificate.clone(), key, hosts, years: 1 };
    self_signed::make(&wanted).unwrap();
    let made = fs::read(&certificate).unwrap();
    self_signed::make(&wanted).unwrap();
    assert_eq!(fs::read(&certificate).unwrap(), made, "it is made once");
    let files = ServerTls {
        certificate: wanted.certificate.clone(),
        key: wanted.key.clone(),
        authorities: None,
        revoked: None,
        allowed: None,
        rules: RULES,
        flags: &FLAGS,
    };
    Tls::server(files).unwrap();
    // One that has ended.
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let ended = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    fs::write(&certificate, &ended).unwrap();
    self_signed::make(&wanted).unwrap();
    assert_ne!(fs::read(&certificate).unwrap(), ended.into_bytes());
}

#[tokio::test]
async fn the_server_knows_the_certificate_of_its_client() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let server = authority.issue(home, "a");
    let client = authority.issue(home, "b");
    let open = ServerTls { authorities: None, ..server.clone() };
    let leaf = CertificateDer::from_pem_file(&client.certificate).unwrap();
    for (server, expected) in [(&server, Some(&*leaf)), (&open, None)] {
        let acceptor = TlsAcceptor::from(Tls::server(server.clone()).unwrap().current());
        let connector = TlsConnector::from(Tls::client(as_client(&client)).unwrap().current());
        let (here, there) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("localhost").unwrap();
        let (accepted, connected) =
            tokio::join!(acceptor.accept(here), connector.connect(name, there));
        connected.unwrap();
        assert_eq!(shown(accepted.unwrap().get_ref().1).as_deref(), expected);
    }
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = Authority::new(home, "ca").issue(home, "a");
    for version in [TlsVersion::V12, TlsVersion::V13] {
        let rules = TlsRules { oldest: version, newest: version, suites: None };
        let server = Tls::server(ServerTls { rules, ..files.clone() }).unwrap().current();
        let mut client = (*Tls::client(as_client(&files)).unwrap().current()).clone();
        // This client would resume an earlier session if the server let it.
        client.resumption = rustls::client::Resumption::default();
        let client = Arc::new(client);
        for _ in 0..2 {
            let (here, there) = tokio::io::duplex(1 << 16);
            let name = ServerName::try_from("localhost").unwrap();
            let accepted = TlsAcceptor::from(server.clone()).accept(here);
            let connected = TlsConnector::from(client.clone()).connect(name, there);
            let (accepted, connected) = tokio::join!(accepted, connected);
            let mut accepted = accepted.unwrap();
            let mut connected = connected.unwrap();
            // A session ticket would arrive before the first byte.
            accepted.write_all(b"x").await.unwrap();
            accepted.flush().await.unwrap();
            assert_eq!(connected.read_u8().await.unwrap(), b'x');
            let kind = accepted.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full), "{version:?}");
        }
    }
}

#[tokio::test]
async fn keys_of_every_type_work_in_both_versions() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    for (name, algorithm) in [
        ("p256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("p384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("p521", &rcgen::PKCS_ECDSA_P521_SHA512),
        ("ed25519", &rcgen::PKCS_ED25519),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let files = authority.issue_with(home, name, &["localhost"], &key);
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let server = ServerTls {
                rules: TlsRules { oldest: version, newest: version, suites: None },
                ..files.clone()
            };
            // Servers are verified by the client's verifier, and with verification off.
            for verifies in [true, false] {
                let client = ClientTls { verifies, ..as_client(&files) };
                assert_eq!(shake(&server, &client).await, Ok(()), "{name} with {version:?}");
            }
        }
    }
}

#[tokio::test]
async fn only_certificates_with_an_allowed_name_are_accepted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let a = authority.issue(home, "a");
    let b = authority.issue(home, "b");
    let allow = |allowed: Allowed| ServerTls { allowed: Some(allowed), ..a.clone() };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (allowed, is_allowed) in [
        (Allowed::CommonNames(names(&["x", "b"])), true),
        (Allowed::CommonNames(names(&["a"])), false),
        (Allowed::Hostnames(names(&["localhost"])), true),
        (Allowed::Hostnames(names(&["example.com"])), false),
    ] {
        let shaken = shake(&allow(allowed.clone()), &as_client(&b)).await;
        assert_eq!(shaken.is_ok(), is_allowed, "{allowed:?}: {shaken:?}");
    }
    // The client requires the same of the server.
    let client = ClientTls { allowed: Some(Allowed::CommonNames(names(&["b"]))), ..as_client(&b) };
    assert!(shake(&a, &client).await.is_err());
    assert_eq!(shake(&b, &client).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_must_be_for_the_address_of_its_peer() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let verify = async |hosts: &[&str], remote: &str| {
        let path = authority.issue_for(home, "a", hosts).certificate;
        let shown = CertificateDer::from_pem_file(path).unwrap();
        let verified = san::verify(Some(&[shown]), remote.parse().unwrap()).await;
        verified.map_err(|error| error.to_string())
    };
    assert_eq!(verify(&["127.0.0.1"], "127.0.0.1").await, Ok(()));
    assert_eq!(verify(&["127.0.0.1"], "::ffff:127.0.0.1").await, Ok(()));
    assert_eq!(verify(&["10.9.9.9", "::1"], "::1").await, Ok(()));
    assert_eq!(verify(&[], "127.0.0.1").await, Ok(()));
    let refused = verify(&["10.9.9.9"], "127.0.0.1").await.unwrap_err();
    assert!(refused.contains("10.9.9.9, not for 127.0.0.1"), "{refused}");
    // The hosts file has this name.
    assert_eq!(verify(&["10.9.9.9", "localhost"], "127.0.0.1").await, Ok(()));
    assert!(san::verify(None, "127.0.0.1".parse().unwrap()).await.is_ok());
}

#[test]
fn changed_files_are_reloaded_if_they_can_be_used() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = Authority::new(home, "ca").issue(home, "a");
    let tls = Tls::server(files.clone()).unwrap();
    let client = Tls::client(as_client(&files)).unwrap();
    let first = tls.current();
    let shown = client.current();
    assert!(Arc::ptr_eq(&first, &tls.current()) && Arc::ptr_eq(&shown, &client.current()));
    fs::write(&files.key, "nothing").unwrap();
    assert!(Arc::ptr_eq(&first, &tls.current()) && Arc::ptr_eq(&shown, &client.current()));
    Authority::new(home, "ca").issue(home, "a");
    let second = tls.current();
    assert!(!Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&shown, &client.current()));
    assert!(Arc::ptr_eq(&second, &tls.current()));
}

#[test]
fn the_certificates_in_use_are_described_without_secrets() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = Authority::new(home, "ca").issue(home, "a");
    let tls = Tls::server(files.clone()).unwrap();
    let before = tls.material(false);
    let [leaf, trusted] = [before.leaf.clone().unwrap(), before.trust[0].clone()];
    assert_eq!((leaf.subject.as_str(), trusted.subject.as_str()), ("CN=a", "CN=ca"));
    assert_eq!((leaf.fingerprint.len(), before.trust.len(), &before.problem), (64, 1, &None));
    assert_eq!(Tls::client(as_client(&files)).unwrap().material(false), before);
    // rustls quotes this line when it refuses it.
    fs::write(&files.key, "-----BEGIN SECRET").unwrap();
    for rereads in [false, true] {
        let Material { leaf: kept, problem, .. } = tls.material(rereads);
        assert_eq!(kept, Some(leaf.clone()));
        assert_eq!(problem, Some(format!("--key-file: {}", files.key.display())));
    }
    Authority::new(home, "ca").issue(home, "a");
    let after = tls.material(false);
    assert_ne!(after.leaf, before.leaf);
    assert_ne!(after.trust, before.trust);
    assert_eq!(after.problem, None);
}

#[test]
fn files_that_look_unchanged_are_read_on_demand() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let files = Authority::new(home, "ca").issue(home, "a");
    let paths = [files.certificate.clone(), files.key.clone(), home.join("ca.crt")];
    // Later PEM files may be shorter or longer; the padding makes them equally long.
    let pad = |path: &PathBuf| {
        let mut text = fs::read(path).unwrap();
        text.resize(4096, b'\n');
        fs::write(path, text).unwrap();
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    paths.iter().for_each(pad);
    let tls = Tls::server(files).unwrap();
    let before = tls.material(false);
    Authority::new(home, "ca").issue(home, "a");
    paths.iter().for_each(pad);
    assert_eq!(tls.material(false), before);
    let after = tls.material(true);
    assert_ne!(after, before);
    assert_eq!(tls.material(false), after);
}

#[test]
fn problems_with_files_are_named() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let authority = Authority::new(home, "ca");
    let good = authority.issue(home, "a");
    let other = authority.issue(home, "b");
    let problem = |files: ServerTls| Tls::server(files).err().unwrap().to_string();
    let text = problem(ServerTls { key: home.join("none"), ..good.clone() });
    assert!(text.contains("--key-file") && text.contains("none"), "{text}");
    let text = problem(ServerTls { certificate: good.key.clone(), ..good.clone() });
    assert!(text.contains("--cert-file") && text.contains("no certificate"), "{text}");
    let text = problem(ServerTls { key: other.key, ..good.clone() });
    assert!(text.contains("--cert-file"), "{text}");
    let text = problem(ServerTls { authorities: Some(good.key.clone()), ..good });
    assert!(text.contains("--trusted-ca-file"), "{text}");
}
