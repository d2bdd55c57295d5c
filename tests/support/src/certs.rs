//! Certificates for one suite: for an authority, a server and clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// The names of this machine.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority with a server's and a client's certificate, as PEM files in one folder: `ca.crt`,
/// `server.crt`, `server.key`, `client.crt`, `client.key`. `elsewhere.crt` and `elsewhere.key` are
/// like the server's, but for an address that no server has.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Pki {
    /// Writes all files to `folder`. The server's certificate is for `localhost`, `127.0.0.1` and
    /// `::1`; the client's common name is `client`.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn new(folder: &Path) -> Self {
        Self::for_hosts(folder, &[])
    }

    /// Like [`new`](Self::new), with `hosts` as further names in the server's certificate.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn for_hosts(folder: &Path, hosts: &[&str]) -> Self {
        fs::create_dir_all(folder).expect("the folder can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names, no bad ones");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate");
        let issuer = Arc::new(Issuer::new(params, key));
        let pki = Self { folder: folder.to_path_buf(), issuer };
        pki.write("ca.crt", &authority.pem());
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        pki.issue(["server", "server"], server.clone(), &[&HERE, hosts].concat());
        pki.issue(["elsewhere", "server"], server, &["10.9.9.9"]);
        pki.issue_client("client");
        pki
    }

    /// Issues a client's certificate with this common name, and writes it to `name.crt` and its key
    /// to `name.key`.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn issue_client(&self, name: &str) {
        self.issue([name, name], ExtendedKeyUsagePurpose::ClientAuth, &HERE);
    }

    /// The path of one of the files, given its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Issues a member's certificate with this common name for this machine, and writes it to
    /// `name.crt` and its key to `name.key`.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn issue_member(&self, name: &str) {
        self.issue([name, name], ExtendedKeyUsagePurpose::ServerAuth, &HERE);
    }

    /// Replaces a file in one step by a list, as DER, that revokes the certificates with these
    /// names.
    ///
    /// # Panics
    /// If a key cannot be read, or the file cannot be written.
    pub fn revoke(&self, names: &[&str], list: &str) {
        let time = date_time_ymd;
        let revoked = |name: &&str| {
            let key = KeyPair::from_pem(&self.read(&format!("{name}.key"))).expect("a key");
            RevokedCertParams {
                serial_number: serial(&key),
                revocation_time: time(2026, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let params = CertificateRevocationListParams {
            this_update: time(2026, 1, 1),
            next_update: time(2100, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: names.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = params.signed_by(&self.issuer).expect("the authority signs lists");
        let new = self.path(&format!("{list}.new"));
        fs::write(&new, signed.der()).expect("the folder can be written to");
        fs::rename(new, self.path(list)).expect("the folder can be written to");
    }

    /// TLS flags of the port for clients: it presents the server's certificate and requires one of
    /// this authority.
    pub fn client_flags(&self) -> Vec<String> {
        self.peer_flags().iter().map(|flag| flag.replace("--peer-", "--")).collect()
    }

    /// Peer TLS flags: members present the server's certificate and require one of this authority
    /// from each other.
    pub fn peer_flags(&self) -> Vec<String> {
        [("cert", "server.crt"), ("key", "server.key"), ("trusted-ca", "ca.crt")]
            .map(|(flag, file)| format!("--peer-{flag}-file={}", self.path(file).display()))
            .into_iter()
            .chain(["--peer-client-cert-auth".to_owned()])
            .collect()
    }

    /// The authority's certificate.
    pub fn ca_pem(&self) -> String {
        self.read("ca.crt")
    }

    /// The client's certificate.
    pub fn client_pem(&self) -> String {
        self.read("client.crt")
    }

    /// The client's key.
    pub fn client_key_pem(&self) -> String {
        self.read("client.key")
    }

    /// Issues a certificate for `hosts` with this common name, and writes it to `name.crt` and its
    /// key to `name.key`.
    fn issue(
        &self,
        [name, common_name]: [&str; 2],
        usage: ExtendedKeyUsagePurpose,
        hosts: &[&str],
    ) {
        let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.distinguished_name.push(DnType::CommonName, common_name);
        // A member is both a server and a client to its peers.
        params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        params.serial_number = Some(serial(&key));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).expect("the folder can be written to");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it was issued")
    }
}

/// The serial number of the certificate with this key.
fn serial(key: &KeyPair) -> SerialNumber {
    let public = key.public_key_raw();
    // A serial number is positive, and has no zeros in front.
    SerialNumber::from_slice(&[&[1], &public[public.len() - 8..]].concat())
}
