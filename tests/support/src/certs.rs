//! Certificates for one suite: for an authority, a server and a client.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// An authority with a server's and a client's certificate, as PEM files in one folder: `ca.crt`,
/// `server.crt`, `server.key`, `client.crt`, `client.key`. `elsewhere.crt` and `elsewhere.key` are
/// like the server's, but for an address that no server has.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
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
        let issuer = Issuer::new(params, key);
        let pki = Self { folder: folder.to_path_buf() };
        pki.write("ca.crt", &authority.pem());
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let here = ["localhost", "127.0.0.1", "::1"];
        pki.issue(&issuer, ["server", "server"], server.clone(), &[&here, hosts].concat());
        pki.issue(&issuer, ["client", "client"], client, &here);
        pki.issue(&issuer, ["elsewhere", "server"], server, &["10.9.9.9"]);
        pki
    }

    /// The path of one of the files, given its name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
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
        issuer: &Issuer<'_, KeyPair>,
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
        let certificate = params.signed_by(&key, issuer).expect("a certificate");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, pem: &str) {
        fs::write(self.path(name), pem).expect("the folder can be written to");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it was written by new")
    }
}
