//! The certificate verifiers for rustls: which clients are accepted, and which servers are trusted.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::certificate::Certificate;
use super::chain::{self, Purpose, Refusal, Rules};
use super::revoked::Revoked;
use super::{hosts, signature};
use crate::config::Allowed;
use crate::logging::RateLimit;

/// Maximum number of names of a certificate that an error shows.
const NAMES: usize = 10;
/// Shortest time between two log lines about refused certificates.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

static REFUSED: RateLimit = RateLimit::new(REFUSED_PAUSE);

/// The certificate is valid, but its name is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("certificate authentication failed: {0}")]
struct NotAllowed(String);

/// Accepts a certificate that has a valid chain to a trusted one and, if names are required, has
/// one of them.
#[derive(Debug)]
pub(super) struct Verifier {
    trusted: Vec<Certificate>,
    /// The flag for the file of the trusted certificates.
    flag: &'static str,
    allowed: Option<Allowed>,
    /// The certificates that their issuer has revoked; `None` without a list.
    revoked: Option<Revoked>,
    /// The subjects of the trusted certificates, which are sent to clients.
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        trusted: Vec<Certificate>,
        flag: &'static str,
        allowed: Option<Allowed>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let mut subjects: Vec<&[u8]> = trusted.iter().map(|one| one.subject.as_slice()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let hints = subjects.into_iter().map(|subject| subject.to_vec().into()).collect();
        Self { trusted, flag, allowed, revoked: None, hints, provider }
    }

    /// The verifier that also refuses chains with a revoked certificate.
    pub(super) fn without(self, revoked: Option<Revoked>) -> Self {
        Self { revoked, ..self }
    }

    /// Verifies a certificate: a server's for `host`, or a client's if `host` is `None`. Logs why a
    /// certificate is refused.
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let unreadable = |subject: &str, reason: String| {
            let fix = "reissue it according to RFC 5280";
            refuse(subject, Refusal::new(reason, fix, CertificateError::BadEncoding))
        };
        let certificate = Certificate::parse(shown)
            .map_err(|problem| unreadable("(unreadable)", problem.to_owned()))?;
        let others = parse_all(others).map_err(|problem| {
            let reason = format!("a certificate presented with it is malformed: {problem}");
            unreadable(&certificate.subject_text, reason)
        })?;
        let rules = Rules {
            trusted: &self.trusted,
            flag: self.flag,
            purpose: if host.is_some() { Purpose::Server } else { Purpose::Client },
            now,
            algorithms: &self.provider.signature_verification_algorithms,
        };
        let verified = host
            .map_or(Ok(()), |host| check_host(&certificate, host))
            .and_then(|()| chain::verify(&certificate, &others, rules))
            .and_then(|()| self.check_revoked(&certificate, &others))
            .and_then(|()| self.check_allowed(&certificate));
        verified.map_err(|refusal| refuse(&certificate.subject_text, refusal))
    }

    /// Checks all presented certificates, as in etcd.
    fn check_revoked(
        &self,
        certificate: &Certificate,
        others: &[Certificate],
    ) -> Result<(), Refusal> {
        let Some(revoked) = &self.revoked else { return Ok(()) };
        let shown = [certificate].into_iter().chain(others);
        let Some(found) = shown.into_iter().find(|shown| revoked.has(&shown.serial)) else {
            return Ok(());
        };
        let reason = format!("{} is in the list of revoked certificates", found.subject_text);
        Err(Refusal::new(reason, "issue a new one", CertificateError::Revoked))
    }

    fn check_allowed(&self, certificate: &Certificate) -> Result<(), Refusal> {
        let reason = match &self.allowed {
            None => return Ok(()),
            Some(Allowed::CommonNames(names)) => {
                let name = certificate.common_name.clone().unwrap_or_default();
                if names.contains(&name) {
                    return Ok(());
                }
                format!("its common name {name:?} is not allowed")
            }
            Some(Allowed::Hostnames(hosts)) => {
                let names = &certificate.extensions.names;
                if hosts.iter().any(|host| hosts::include(names, host)) {
                    return Ok(());
                }
                format!("it is not for any of the allowed hosts {}", hosts.join(", "))
            }
        };
        let error = CertificateError::Other(OtherError(Arc::new(NotAllowed(reason.clone()))));
        Err(Refusal::new(reason, "reissue it for an allowed name, or allow its name", error))
    }
}

/// Logs why a certificate is refused: for one in [`REFUSED_PAUSE`], and for the others at debug
/// level.
fn refuse(subject: &str, refusal: Refusal) -> Error {
    let Refusal { reason, fix, error } = refusal;
    match REFUSED.allows() {
        Some(others) => {
            tracing::warn!(subject, reason, fix, others, "refused a certificate");
        }
        None => tracing::debug!(subject, reason, fix, "refused a certificate"),
    }
    Error::InvalidCertificate(error)
}

/// Parses certificates; duplicates are parsed once.
fn parse_all(certificates: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, &'static str> {
    let mut found: Vec<Certificate> = Vec::new();
    for certificate in certificates {
        if !found.iter().any(|found| found.raw == certificate.as_ref()) {
            found.push(Certificate::parse(certificate)?);
        }
    }
    Ok(found)
}

fn check_host(certificate: &Certificate, name: &ServerName<'_>) -> Result<(), Refusal> {
    let names = &certificate.extensions.names;
    let host = name.to_str();
    if hosts::include(names, &host) {
        return Ok(());
    }
    let mut presented = names.to_list();
    presented.truncate(NAMES);
    let hosts = if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
    let expected = name.to_owned();
    let error = CertificateError::NotValidForNameContext { expected, presented };
    let reason = format!("it is for {hosts}, not for {host}");
    let fix = format!("reissue it with {host} among its subject alternative names");
    Err(Refusal::new(reason, fix, error))
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        signature::verify_tls12(message, certificate, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        signature::verify_tls13(message, certificate, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, Some(name), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, certificate, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, certificate, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}

/// Accepts any certificate, if the server has its private key.
#[derive(Debug)]
pub(super) struct AcceptAny(Arc<CryptoProvider>);

impl AcceptAny {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for AcceptAny {
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
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        signature::verify_tls12(message, certificate, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        signature::verify_tls13(message, certificate, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
