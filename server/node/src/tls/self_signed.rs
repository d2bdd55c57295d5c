//! Makes certificates that sign themselves, for encryption without a certificate authority.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::ASN1Time;

use super::certificate::Certificate;
use crate::config::SelfSigned;

const DAY: i64 = 24 * 3600;
/// A certificate that ends within this time is made again at the start of the program.
const RENEWED_WITHIN: i64 = 30 * DAY;

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the certificate {}: {reason}", path.display())]
pub(crate) struct SelfSignedError {
    path: PathBuf,
    reason: String,
}

/// Makes a certificate and its key, unless the files have one that is still valid for long enough.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn make(wanted: &SelfSigned) -> Result<(), SelfSignedError> {
    let failed = |reason: String| SelfSignedError { path: wanted.certificate.clone(), reason };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or_default();
    let end = end_of(&wanted.certificate).unwrap_or_default();
    if end - now > RENEWED_WITHIN && wanted.key.exists() {
        return Ok(());
    }
    let (certificate, key) = issue(wanted, now).map_err(failed)?;
    let written = write(&wanted.key, &key).and_then(|()| write(&wanted.certificate, &certificate));
    written.map_err(|error| failed(error.to_string()))?;
    let path = wanted.certificate.display();
    tracing::info!(%path, years = wanted.years, "made a certificate that signs itself");
    Ok(())
}

/// End of the validity of the certificate in a file, in seconds since the Unix epoch.
fn end_of(path: &Path) -> Option<i64> {
    let certificate = CertificateDer::from_pem_file(path).ok()?;
    Some(Certificate::parse(&certificate).ok()?.not_after)
}

/// A certificate and its key, as PEM.
fn issue(wanted: &SelfSigned, now: i64) -> Result<(String, String), String> {
    let time = |seconds| match ASN1Time::from_timestamp(seconds) {
        Ok(time) => Ok(time.to_datetime()),
        Err(error) => Err(format!("--self-signed-cert-validity: {error}")),
    };
    let made = |error: rcgen::Error| error.to_string();
    let mut params = CertificateParams::new(wanted.hosts.clone()).map_err(made)?;
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    params.not_before = time(now)?;
    params.not_after = time(now + i64::from(wanted.years) * 365 * DAY)?;
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    let [server, client] =
        [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.extended_key_usages = vec![server, client];
    let key = KeyPair::generate().map_err(made)?;
    let certificate = params.self_signed(&key).map_err(made)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file that only the user can read, and the folders above it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
