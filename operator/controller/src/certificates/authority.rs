//! An authority, and the certificates that it issues.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::Error;
use crate::members::Key;

/// How long an authority is valid: ten years. Its replacement needs every client's help.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_secs(3653 * 24 * 3600);
/// How far in the past a certificate begins to be valid, for clocks that are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// An authority.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// Its certificate as PEM.
    pub certificate: String,
    /// Its key.
    pub key: Key,
}

/// The purpose of a certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Leaf {
    /// The common name.
    pub common_name: String,
    /// The host names and addresses of a server; empty for a client.
    pub names: Vec<String>,
    /// How long it is valid.
    pub lifetime: Duration,
}

/// A certificate with its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// The certificate as PEM.
    pub certificate: String,
    /// Its key.
    pub key: Key,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate(common_name: &str, now: Timestamp) -> Result<Self, Error> {
        let mut parameters = parameters(common_name, &[], AUTHORITY_LIFETIME, now)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { certificate: certificate.pem(), key: Key(key.serialize_pem()) })
    }

    /// Whether it can issue certificates: its own parts can be read.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.issuer().is_ok()
    }

    fn issuer(&self) -> Result<Issuer<'_, KeyPair>, Error> {
        Ok(Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key.0)?)?)
    }

    /// Issues a certificate.
    ///
    /// # Errors
    /// A name cannot be part of a certificate, or the authority's own parts are damaged.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp) -> Result<Issued, Error> {
        let issuer = self.issuer()?;
        let mut parameters = parameters(&leaf.common_name, &leaf.names, leaf.lifetime, now)?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !leaf.names.is_empty() {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: Key(key.serialize_pem()) })
    }
}

fn parameters(
    common_name: &str,
    names: &[String],
    lifetime: Duration,
    now: Timestamp,
) -> Result<CertificateParams, Error> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let now = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    parameters.not_after = epoch + now + lifetime;
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::*;

    use super::*;

    fn parsed(pem: &str, look: impl FnOnce(&X509Certificate<'_>)) {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).unwrap();
        look(&pem.parse_x509().unwrap());
    }

    #[test]
    fn a_certificate_is_for_what_it_was_asked_for() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::generate("clients of main", now).unwrap();
        let leaf = Leaf {
            common_name: "root".to_owned(),
            names: vec!["main-client.ns.svc".to_owned(), "127.0.0.1".to_owned()],
            lifetime: Duration::from_secs(120),
        };
        let issued = authority.issue(&leaf, now).unwrap();
        parsed(&authority.certificate, |ca| {
            assert!(ca.is_ca());
            assert_eq!(ca.validity().not_after.timestamp(), 1_800_000_000 + 3653 * 86400);
            parsed(&issued.certificate, |leaf| {
                assert_eq!(leaf.issuer(), ca.subject());
                assert!(leaf.verify_signature(Some(ca.public_key())).is_ok());
                assert_eq!(leaf.subject().to_string(), "CN=root");
                assert!(!leaf.is_ca());
                let names = leaf.subject_alternative_name().unwrap().unwrap();
                assert_eq!(names.value.general_names.len(), 2);
                let usage = leaf.extended_key_usage().unwrap().unwrap().value;
                assert!(usage.client_auth && usage.server_auth);
                let validity = leaf.validity();
                assert_eq!(validity.not_before.timestamp(), 1_800_000_000 - 300);
                assert_eq!(validity.not_after.timestamp(), 1_800_000_120);
            });
        });
    }

    #[test]
    fn a_client_cannot_act_as_a_server() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let authority = Authority::generate("clients", now).unwrap();
        let lifetime = Duration::from_secs(120);
        let leaf = Leaf { common_name: "root".to_owned(), names: Vec::new(), lifetime };
        parsed(&authority.issue(&leaf, now).unwrap().certificate, |leaf| {
            assert!(!leaf.extended_key_usage().unwrap().unwrap().value.server_auth);
        });
    }
}
