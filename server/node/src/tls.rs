//! TLS of the client port. Files that change are taken up by the next connection.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::{TlsFiles, TlsVersion};

/// Protocols above TLS. Go's servers let clients in that offer HTTP/1.1 alone; so that ours does,
/// it must offer it.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("--{flag}: cannot read {}: {source}", path.display())]
    Read { flag: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("--{flag}: {} holds no {what}", path.display())]
    Empty { flag: &'static str, path: PathBuf, what: &'static str },
    #[error("--{flag}: {} cannot be used: {reason}", path.display())]
    Unusable { flag: &'static str, path: PathBuf, reason: String },
}

/// What tells a file's version from the next: when it was changed, its length, which file it is.
type Stamp = Option<(SystemTime, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// What the files said when they were read last.
struct Loaded {
    stamps: Vec<Stamp>,
    config: Arc<ServerConfig>,
}

/// The server's side of TLS.
pub(crate) struct Tls {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let config = Arc::new(load(&files)?);
        Ok(Self { files, loaded: Mutex::new(Loaded { stamps, config }) })
    }

    /// What the next connection is served with. While new files cannot be used, the old ones are.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        let stamps = stamps(&self.files);
        let mut loaded = self.loaded.lock();
        if loaded.stamps != stamps {
            match load(&self.files) {
                Ok(config) => {
                    tracing::info!(
                        certificate = %self.files.certificate.display(),
                        "certificates changed and are taken up"
                    );
                    loaded.config = Arc::new(config);
                }
                Err(error) => {
                    tracing::error!(%error, "certificates changed, the old ones stay in use");
                }
            }
            loaded.stamps = stamps;
        }
        loaded.config.clone()
    }
}

fn stamps(files: &TlsFiles) -> Vec<Stamp> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_authorities.as_ref()];
    paths.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { flag, path: path.to_owned(), source };
    let pem = CertificateDer::pem_file_iter(path).map_err(read)?;
    let found = pem.collect::<Result<Vec<_>, _>>().map_err(read)?;
    match found.is_empty() {
        true => Err(TlsError::Empty { flag, path: path.to_owned(), what: "certificate" }),
        false => Ok(found),
    }
}

fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let flag = "trusted-ca-file";
    let unusable = |reason: String| TlsError::Unusable { flag, path: path.to_owned(), reason };
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(flag, path)? {
        authorities.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider.clone())
        .build()
        .map_err(|error| unusable(error.to_string()))
}

fn load(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates("cert-file", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| TlsError::Read {
        flag: "key-file",
        path: files.key.clone(),
        source,
    })?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        flag: "cert-file",
        path: files.certificate.clone(),
        reason: error.to_string(),
    };
    let versions: &[&SupportedProtocolVersion] = match (files.oldest, files.newest) {
        (TlsVersion::V13, _) => &[&version::TLS13],
        (_, TlsVersion::V12) => &[&version::TLS12],
        _ => &[&version::TLS13, &version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).map_err(unusable)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, &provider)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn write(home: &Path) -> TlsFiles {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = TlsFiles {
            certificate: home.join("cert.pem"),
            key: home.join("key.pem"),
            client_authorities: Some(home.join("cert.pem")),
            oldest: TlsVersion::V12,
            newest: TlsVersion::V13,
        };
        fs::write(&files.certificate, cert.pem()).unwrap();
        fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn files_that_change_are_taken_up_if_they_can_be_used() {
        let home = tempfile::tempdir().unwrap();
        let tls = Tls::new(write(home.path())).unwrap();
        let first = tls.current();
        assert!(Arc::ptr_eq(&first, &tls.current()));
        fs::write(home.path().join("key.pem"), "nothing").unwrap();
        assert!(Arc::ptr_eq(&first, &tls.current()));
        write(home.path());
        let second = tls.current();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &tls.current()));
    }

    #[test]
    fn what_is_wrong_with_files_is_named() {
        let home = tempfile::tempdir().unwrap();
        let good = write(home.path());
        let missing = TlsFiles { key: home.path().join("none"), ..good.clone() };
        let text = Tls::new(missing).err().unwrap().to_string();
        assert!(text.contains("--key-file") && text.contains("none"), "{text}");
        let swapped = TlsFiles { certificate: good.key.clone(), ..good.clone() };
        let text = Tls::new(swapped).err().unwrap().to_string();
        assert!(text.contains("--cert-file") && text.contains("no certificate"), "{text}");
        let other = tempfile::tempdir().unwrap();
        let mixed = TlsFiles { key: write(other.path()).key, ..good };
        let text = Tls::new(mixed).err().unwrap().to_string();
        assert!(text.contains("--cert-file"), "{text}");
    }
}
