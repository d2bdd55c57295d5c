//! Reads certificates and keys from files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::certificate::Certificate;
use crate::config::TlsFlags;

/// A TLS file cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("--{flag}: cannot read {}: {source}", path.display())]
    Read { flag: &'static str, path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("--{flag}: {} contains no {what}", path.display())]
    Empty { flag: &'static str, path: PathBuf, what: &'static str },
    #[error("--{flag}: {} cannot be used: {reason}", path.display())]
    Unusable { flag: &'static str, path: PathBuf, reason: String },
    #[error("the system's CA certificates cannot be used: {reason}; set --{flag}")]
    System { flag: &'static str, reason: String },
}

impl TlsError {
    /// The file, without the reason, which may quote a line of a key.
    pub(super) fn file(&self) -> String {
        match self {
            Self::Read { flag, path, .. }
            | Self::Empty { flag, path, .. }
            | Self::Unusable { flag, path, .. } => format!("--{flag}: {}", path.display()),
            Self::System { flag, .. } => format!("--{flag}: the system's CA certificates"),
        }
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { flag, path: path.to_owned(), source };
    let pem = CertificateDer::pem_file_iter(path).map_err(read)?;
    let found = pem.collect::<Result<Vec<_>, _>>().map_err(read)?;
    if found.is_empty() {
        Err(TlsError::Empty { flag, path: path.to_owned(), what: "certificate" })
    } else {
        Ok(found)
    }
}

/// Reads a certificate chain and its private key, and checks that they belong together. Also
/// returns the leaf certificate.
pub(super) fn pair(
    certificate: &Path,
    key: &Path,
    flags: &TlsFlags,
    provider: &CryptoProvider,
) -> Result<(Arc<SingleCertAndKey>, Certificate), TlsError> {
    let unusable = |flag, path: &Path, reason: String| TlsError::Unusable {
        flag,
        path: path.to_owned(),
        reason,
    };
    let chain = certificates(flags.certificate, certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
        flag: flags.key,
        path: key.to_owned(),
        source,
    })?;
    let private = provider.key_provider.load_private_key(private);
    let private = private.map_err(|error| unusable(flags.key, key, error.to_string()))?;
    // rustls's own comparison cannot be used, because it does not parse version 1 certificates.
    let parsed = Certificate::parse(&chain[0])
        .map_err(|reason| unusable(flags.certificate, certificate, reason.to_owned()))?;
    if private.public_key().is_some_and(|public| public.as_ref() != parsed.key_info) {
        let reason =
            format!("it does not belong to the key in {} (--{})", key.display(), flags.key);
        return Err(unusable(flags.certificate, certificate, reason));
    }
    Ok((Arc::new(CertifiedKey::new(chain, private).into()), parsed))
}

/// Reads all CA certificates in the file. One unreadable certificate fails the whole file: if it
/// were skipped, the members and clients below it would be refused without a visible reason.
pub(super) fn authorities(path: &Path, flags: &TlsFlags) -> Result<Vec<Certificate>, TlsError> {
    let flag = flags.authorities;
    let unusable = |reason| TlsError::Unusable { flag, path: path.to_owned(), reason };
    let read = |error| TlsError::Read {
        flag,
        path: path.to_owned(),
        source: rustls::pki_types::pem::Error::Io(error),
    };
    let text = fs::read(path).map_err(read)?;
    let begun = text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"-----BEGIN "));
    let begun = begun.count();
    let found = certificates(flag, path)?;
    if found.len() != begun {
        let others = begun.abs_diff(found.len());
        return Err(unusable(format!(
            "{others} of its {begun} PEM blocks are not certificates; remove everything else from \
             the file"
        )));
    }
    let parsed = found.iter().enumerate().map(|(at, certificate)| {
        let parsed = Certificate::parse(certificate);
        parsed.map_err(|reason| {
            let reason = format!("{reason}; replace it or remove it");
            unusable(format!("certificate {} of {begun} is malformed: {reason}", at + 1))
        })
    });
    parsed.collect()
}

/// Reads the system's CA certificates.
pub(super) fn system_authorities(flags: &TlsFlags) -> Result<Vec<Certificate>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    // Unreadable certificates are skipped, as in other programs.
    let parsed = found.certs.iter().filter_map(|certificate| Certificate::parse(certificate).ok());
    let authorities: Vec<Certificate> = parsed.collect();
    if authorities.is_empty() {
        let mut reasons = found.errors.iter().map(ToString::to_string);
        let reason = reasons.next().unwrap_or_else(|| "there are none".to_owned());
        return Err(TlsError::System { flag: flags.authorities, reason });
    }
    Ok(authorities)
}
