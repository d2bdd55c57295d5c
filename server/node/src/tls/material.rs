//! The certificates in use, without their keys.

use sha2::{Digest, Sha256};

use super::certificate::Certificate;

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// SHA-256 of the certificate in DER, in hexadecimal.
    pub(crate) fingerprint: String,
    pub(crate) subject: String,
    /// End of the validity, in seconds since the Unix epoch.
    pub(crate) not_after: i64,
}

impl Shown {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let digest = Sha256::digest(&certificate.raw);
        Self {
            fingerprint: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            subject: certificate.subject_text.clone(),
            not_after: certificate.not_after,
        }
    }
}

/// The certificates that one side of TLS uses for the next connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Material {
    /// The certificate that this side presents, if it has one.
    pub(crate) leaf: Option<Shown>,
    /// The trusted certificates in the file. Those of the system are not listed.
    pub(crate) trust: Vec<Shown>,
    /// The file that could not be used when the files were read last, so that the earlier ones stay
    /// in use.
    pub(crate) problem: Option<String>,
}
