//! A client that shows a certificate, and learns the certificate of a server that answers it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_test_support::certs::Pki;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use sha2::{Digest as _, Sha256};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(30);

const HTTP_2: &[u8] = b"h2";
/// The beginning of an HTTP/2 connection: the preface, and settings without content.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const REQUEST: &[u8] = b"GET /version HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// A client with its certificate.
pub(crate) struct Visitor(Arc<ClientConfig>);

impl Visitor {
    /// A client that trusts the authorities of a file and shows the certificate of this name. The
    /// files are read now.
    pub(crate) fn new(authorities: &Path, pki: &Pki, name: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(authorities).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let file = |end: &str| -> PathBuf { pki.path(&format!("{name}.{end}")) };
        let certificate = CertificateDer::from_pem_file(file("crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key);
        let mut config = config.unwrap();
        config.alpn_protocols = [HTTP_2, b"http/1.1"].map(<[u8]>::to_vec).into();
        Self(Arc::new(config))
    }

    /// The fingerprint of the certificate of a server that answers a request; `None` if it does not
    /// answer.
    pub(crate) fn served_by(&self, address: &str) -> Option<String> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut connection = ClientConnection::new(self.0.clone(), name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(WITHIN)).unwrap();
        let mut stream = Stream::new(&mut connection, &mut socket);
        stream.flush().ok()?;
        // A port for gRPC alone answers nothing else than HTTP/2.
        let says = if stream.conn.alpn_protocol() == Some(HTTP_2) { PREFACE } else { REQUEST };
        // In TLS 1.3, the refusal comes after the client's part of the handshake.
        stream.write_all(says).ok()?;
        stream.read_exact(&mut [0]).ok()?;
        Some(fingerprint(&connection.peer_certificates().unwrap()[0]))
    }
}

/// The fingerprint of a certificate, as the page `/tls` shows it.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}
