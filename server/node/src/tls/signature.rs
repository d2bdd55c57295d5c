//! Verifies signatures: an issuer's on a certificate, and a peer's on the TLS handshake.
//!
//! The cryptography is that of rustls's provider. rustls's own functions for this use webpki, which
//! does not parse version 1 certificates.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};

use super::certificate::Certificate;

/// Verifies that the issuer's key signed the certificate. The error is the reason, about the
/// issuer.
pub(super) fn verify_issued(
    certificate: &Certificate,
    issuer: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), String> {
    let mut known = algorithms.all.iter();
    if !known.any(|known| known.signature_alg_id().as_ref() == certificate.algorithm) {
        return Err("it signed with an unsupported algorithm, such as SHA-1".to_owned());
    }
    check_key(issuer, algorithms)?;
    let mut fitting = algorithms.all.iter().filter(|known| {
        known.signature_alg_id().as_ref() == certificate.algorithm
            && known.public_key_alg_id().as_ref() == issuer.key_algorithm
    });
    let verified = fitting.any(|algorithm| {
        let Certificate { signed, signature, .. } = certificate;
        algorithm.verify_signature(&issuer.key, signed, signature).is_ok()
    });
    if verified { Ok(()) } else { Err("its key did not make the signature".to_owned()) }
}

/// Checks that signatures by the certificate's key can be verified. The error is the reason.
pub(super) fn check_key(
    certificate: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), String> {
    if let Some(bits) = certificate.rsa_bits()
        && !(2048..=8192).contains(&bits)
    {
        return Err(format!("its RSA key has {bits} bits, but only 2048 to 8192 are supported"));
    }
    let key = &certificate.key_algorithm;
    if algorithms.all.iter().any(|known| known.public_key_alg_id().as_ref() == key) {
        Ok(())
    } else {
        Err("its key has an unsupported type".to_owned())
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    let parsed = Certificate::parse(certificate);
    parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Verifies, in TLS 1.2, that the peer has the private key of the certificate that it presents.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let certificate = parse(certificate)?;
    let mut offered = algorithms.mapping.iter();
    let Some((_, known)) = offered.find(|(scheme, _)| *scheme == signature.scheme) else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    // In TLS 1.2 the scheme does not determine the curve; the key does.
    let fitting = known
        .iter()
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == certificate.key_algorithm);
    let verified = fitting.is_some_and(|algorithm| {
        algorithm.verify_signature(&certificate.key, message, signature.signature()).is_ok()
    });
    if verified {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }
}

/// Verifies, in TLS 1.3, that the peer has the private key of the certificate that it presents.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(parse(certificate)?.key_info);
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
}
