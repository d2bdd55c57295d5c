//! Certificate revocation lists.
//!
//! As in etcd, a certificate is revoked if its serial number is in the list, whichever CA issued
//! it. The signature and the dates of the list are not checked: an attacker that can write the file
//! can also remove the list.

use std::collections::BTreeSet;
use std::fs;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::{self, PemObject};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::files::TlsError;
use crate::config::RevokedFile;

/// Serial numbers of revoked certificates, without leading zeros.
#[derive(Debug)]
pub(super) struct Revoked(BTreeSet<Vec<u8>>);

/// A serial number without leading zeros.
fn plain(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

impl Revoked {
    /// Whether the certificate with this serial number is revoked.
    pub(super) fn has(&self, serial: &[u8]) -> bool {
        self.0.contains(plain(serial))
    }
}

/// Reads a list, as PEM or DER.
///
/// # Errors
/// The file cannot be read, or is no list.
pub(super) fn read(file: &RevokedFile) -> Result<Revoked, TlsError> {
    let RevokedFile { flag, path } = file;
    let failed = |source| TlsError::Read { flag, path: path.clone(), source };
    let bytes = fs::read(path).map_err(|error| failed(pem::Error::Io(error)))?;
    let list = if bytes.starts_with(b"-----BEGIN") {
        CertificateRevocationListDer::from_pem_slice(&bytes).map_err(failed)?
    } else {
        CertificateRevocationListDer::from(bytes)
    };
    let (_, list) = CertificateRevocationList::from_der(&list).map_err(|error| {
        let reason = format!("it is no certificate revocation list: {error}");
        TlsError::Unusable { flag, path: path.clone(), reason }
    })?;
    let serials = list.iter_revoked_certificates().map(|revoked| plain(revoked.raw_serial()));
    Ok(Revoked(serials.map(<[u8]>::to_vec).collect()))
}
