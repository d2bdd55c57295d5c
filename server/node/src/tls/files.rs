//! Reading certificates and keys.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFlags;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("--{flag}: cannot read {}: {source}", path.display())]
    Read { flag: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("--{flag}: {} holds no {what}", path.display())]
    Empty { flag: &'static str, path: PathBuf, what: &'static str },
    #[error("--{flag}: {} cannot be used: {reason}", path.display())]
    Unusable { flag: &'static str, path: PathBuf, reason: String },
    #[error("the authorities of the system cannot be used: {reason}; name some with --{flag}")]
    System { flag: &'static str, reason: String },
}

/// A certificate with its chain, and its key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { flag, path: path.to_owned(), source };
    let pem = CertificateDer::pem_file_iter(path).map_err(read)?;
    let found = pem.collect::<Result<Vec<_>, _>>().map_err(read)?;
    match found.is_empty() {
        true => Err(TlsError::Empty { flag, path: path.to_owned(), what: "certificate" }),
        false => Ok(found),
    }
}

/// Reads a certificate and its key.
pub(super) fn pair(certificate: &Path, key: &Path, flags: &TlsFlags) -> Result<Pair, TlsError> {
    let chain = certificates(flags.certificate, certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
        flag: flags.key,
        path: key.to_owned(),
        source,
    })?;
    Ok((chain, key))
}

/// Reads the certificates of authorities.
pub(super) fn authorities(path: &Path, flags: &TlsFlags) -> Result<RootCertStore, TlsError> {
    let flag = flags.authorities;
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(flag, path)? {
        authorities.add(certificate).map_err(|error| TlsError::Unusable {
            flag,
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(authorities)
}

/// Reads the certificates of the system's authorities.
pub(super) fn system_authorities(flags: &TlsFlags) -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut authorities = RootCertStore::empty();
    // Those that cannot be read are not trusted, as with every other program.
    authorities.add_parsable_certificates(found.certs);
    if authorities.is_empty() {
        let mut reasons = found.errors.iter().map(ToString::to_string);
        let reason = reasons.next().unwrap_or_else(|| "there are none".to_owned());
        return Err(TlsError::System { flag: flags.authorities, reason });
    }
    Ok(authorities)
}
