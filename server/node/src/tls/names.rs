//! Verifiers that ask more of a certificate than that an authority vouches for it, or nothing.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::Allowed;

/// A certificate that is good, of somebody who is not let in.
#[derive(Debug, thiserror::Error)]
#[error("certificate authentication failed: {0}")]
struct NotAllowed(String);

/// The common name of a certificate; of several, the last one, as in Go.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().last()?;
    name.as_str().ok().map(str::to_owned)
}

fn is_for(certificate: &ParsedCertificate<'_>, host: &str) -> bool {
    ServerName::try_from(host).is_ok_and(|name| verify_server_name(certificate, &name).is_ok())
}

fn check(allowed: &Allowed, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let reason = match allowed {
        Allowed::CommonNames(names) => {
            let name = common_name(certificate);
            if name.as_ref().is_some_and(|name| names.contains(name)) {
                return Ok(());
            }
            format!("its common name {:?} is not allowed", name.unwrap_or_default())
        }
        Allowed::Hostnames(hosts) => {
            let parsed = ParsedCertificate::try_from(certificate)?;
            if hosts.iter().any(|host| is_for(&parsed, host)) {
                return Ok(());
            }
            format!("it is for none of the allowed hosts {}", hosts.join(", "))
        }
    };
    let error = OtherError(Arc::new(NotAllowed(reason)));
    Err(Error::InvalidCertificate(CertificateError::Other(error)))
}

/// Lets in clients for whom an authority vouches and who have an allowed name.
#[derive(Debug)]
pub(super) struct AllowedClients {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Allowed,
}

impl AllowedClients {
    pub(super) fn new(inner: Arc<dyn ClientCertVerifier>, allowed: Allowed) -> Self {
        Self { inner, allowed }
    }
}

impl ClientCertVerifier for AllowedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        check(&self.allowed, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts servers for whom an authority vouches and who have an allowed name.
#[derive(Debug)]
pub(super) struct AllowedServers {
    inner: Arc<dyn ServerCertVerifier>,
    allowed: Allowed,
}

impl AllowedServers {
    pub(super) fn new(inner: Arc<dyn ServerCertVerifier>, allowed: Allowed) -> Self {
        Self { inner, allowed }
    }
}

impl ServerCertVerifier for AllowedServers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(end_entity, intermediates, name, ocsp, now)?;
        check(&self.allowed, end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Trusts whoever has the key to the certificate that it shows.
#[derive(Debug)]
pub(super) struct Anybody(Arc<CryptoProvider>);

impl Anybody {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
