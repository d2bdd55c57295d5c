//! Builds and verifies certificate chains by Go's rules, which are etcd's.
//!
//! rustls's own verifier, webpki, refuses certificates that etcd accepts: version 1 certificates,
//! CA certificates as the leaf, and leaves for any extended key usage. It accepts chains that etcd
//! refuses, because it checks little of a trusted certificate: not its validity, not `CA:FALSE`,
//! not its key usages. So this verifier replaces webpki. Trying one after the other would accept
//! whatever either of them accepts.
//!
//! The rules, each with its place in Go's `crypto/x509`:
//!
//! 1. A chain begins with the presented leaf certificate and ends with a trusted one. The
//!    certificates between them were presented with the leaf (`Verify`).
//! 2. A leaf that is itself trusted is a complete chain, even if it is not a CA's (`Verify`).
//! 3. The subject of an issuer is byte for byte the issuer name in the certificate
//!    (`findPotentialParents`, `isValid`). The issuer's key made the signature, with SHA-256 or
//!    better (`CheckSignatureFrom`).
//! 4. An issuer has basic constraints with `CA:TRUE` (`CheckSignatureFrom`). Only a trusted
//!    certificate of version 1 or 2, which cannot have them, needs none (`isValid`).
//! 5. The key usage of an issuer, if it has one, includes signing certificates
//!    (`CheckSignatureFrom`). The key usage of the leaf does not matter.
//! 6. The number of CA certificates between an issuer and the leaf does not exceed the issuer's
//!    path length (`isValid`).
//! 7. The current time is within the validity of each certificate, including the trusted one
//!    (`isValid`).
//! 8. No certificate has a critical extension that is not understood (`isValid`).
//! 9. If a certificate of the chain has extended key usages, they include the wanted one, client
//!    or server, or any usage. This includes the trusted certificate (`checkChainForKeyUsage`).
//! 10. The names of each certificate satisfy the name constraints of all certificates above it
//!     (`checkChainConstraints`).
//! 11. No chain contains a certificate twice, and at most a hundred signatures are checked
//!     (`alreadyInChain`, `buildChains`).
//!
//! Stricter than Go: chains that require certificate policies are refused, because policies are not
//! evaluated; RSA keys must have 2048 to 8192 bits; P-224 is not supported; certificates of version
//! 1 or 2 with extensions are refused, where Go ignores the extensions.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;

use super::certificate::Certificate;
use super::signature;

/// Maximum number of candidate issuers that are tried for one leaf certificate. This bounds the
/// work that an unknown client can cause.
const SIGNATURES: usize = 100;

/// The reason why a certificate is refused, and the fix.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) fix: String,
    pub(super) error: CertificateError,
}

impl Refusal {
    pub(super) fn new(
        reason: impl Into<String>,
        fix: impl Into<String>,
        error: CertificateError,
    ) -> Self {
        Self { reason: reason.into(), fix: fix.into(), error }
    }

    /// A refusal because the issuer is not valid as an issuer.
    fn of_issuer(issuer: &Certificate, reason: &str, fix: &str) -> Self {
        let reason = format!("its issuer {} is not valid: {reason}", issuer.subject_text);
        Self::new(reason, fix, CertificateError::UnknownIssuer)
    }
}

/// The purpose for which a certificate is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Client,
    Server,
}

/// The parameters of a verification.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) trusted: &'a [Certificate],
    /// The flag for the file of the trusted certificates.
    pub(super) flag: &'static str,
    pub(super) purpose: Purpose,
    pub(super) now: UnixTime,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
}

/// Verifies that there is a valid chain from the leaf certificate `shown` to a trusted certificate.
/// `others` are the certificates that were presented with the leaf.
///
/// # Errors
/// There is no such chain.
pub(super) fn verify(
    shown: &Certificate,
    others: &[Certificate],
    rules: Rules<'_>,
) -> Result<(), Refusal> {
    check_itself(shown, rules.now)?;
    if let Err(reason) = signature::check_key(shown, rules.algorithms) {
        let fix = "issue it for another key: ECDSA P-256, P-384 or P-521, Ed25519 or RSA";
        return Err(Refusal::new(reason, fix, CertificateError::BadEncoding));
    }
    if rules.trusted.iter().any(|trusted| trusted.raw == shown.raw) {
        return check_chain(&[shown], rules.purpose);
    }
    let mut search = Search { rules, others, left: SIGNATURES, refusal: None };
    if search.extend(&mut vec![shown]) {
        return Ok(());
    }
    Err(search.refusal.unwrap_or_else(|| {
        let Certificate { issuer_text, .. } = shown;
        let flag = rules.flag;
        let fix = format!(
            "add the certificate of {issuer_text} to the file of --{flag}; an intermediate \
             certificate can also follow the leaf certificate in the peer's certificate file"
        );
        let reason = format!("its issuer, {issuer_text}, is not trusted");
        Refusal::new(reason, fix, CertificateError::UnknownIssuer)
    }))
}

/// Checks that do not depend on the rest of the chain: critical extensions and validity.
fn check_itself(certificate: &Certificate, now: UnixTime) -> Result<(), Refusal> {
    if let Some(extension) = &certificate.extensions.not_understood {
        let reason = format!("its extension {extension} is critical and is not understood");
        let fix = "issue it without that extension, or with one that is not critical";
        return Err(Refusal::new(reason, fix, CertificateError::UnhandledCriticalExtension));
    }
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = |time: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(time).unwrap_or_default(),
        ))
    };
    if seconds < certificate.not_before {
        let begins = at(certificate.not_before);
        let error = CertificateError::NotValidYetContext { time: now, not_before: begins };
        let reason = format!("it becomes valid in {} s", certificate.not_before - seconds);
        return Err(Refusal::new(reason, "set the clock of this machine, or reissue it", error));
    }
    if seconds > certificate.not_after {
        let error =
            CertificateError::ExpiredContext { time: now, not_after: at(certificate.not_after) };
        let reason = format!("it expired {} s ago", seconds - certificate.not_after);
        return Err(Refusal::new(reason, "renew it, or set the clock of this machine", error));
    }
    Ok(())
}

/// A search for a chain to a trusted certificate.
struct Search<'a> {
    rules: Rules<'a>,
    others: &'a [Certificate],
    /// Candidate issuers that may still be tried.
    left: usize,
    /// The refusal to report if no chain is valid.
    refusal: Option<Refusal>,
}

impl<'a> Search<'a> {
    /// Extends the chain by issuers until it ends with a trusted certificate. Returns whether the
    /// resulting chain is valid.
    fn extend(&mut self, chain: &mut Vec<&'a Certificate>) -> bool {
        let Some(&last) = chain.last() else { return false };
        let trusted = candidates(last, self.rules.trusted).into_iter().map(|one| (one, true));
        let others = candidates(last, self.others).into_iter().map(|one| (one, false));
        for (issuer, is_trusted) in trusted.chain(others) {
            if self.left == 0 {
                let fix = "present fewer certificates, or trust fewer with the same subject";
                let error = CertificateError::UnknownIssuer;
                let reason = "too many certificates have the name of its issuer";
                self.refusal = Some(Refusal::new(reason, fix, error));
                return false;
            }
            self.left -= 1;
            if chain.iter().any(|found| is_same(found, issuer)) {
                continue;
            }
            if let Err(refusal) = self.check_issuer(last, issuer, is_trusted, chain.len() - 1) {
                self.refusal.get_or_insert(refusal);
                continue;
            }
            chain.push(issuer);
            let is_found = match is_trusted.then(|| check_chain(chain, self.rules.purpose)) {
                None => self.extend(chain),
                Some(Ok(())) => true,
                Some(Err(refusal)) => {
                    self.refusal = Some(refusal);
                    false
                }
            };
            if is_found {
                return true;
            }
            chain.pop();
        }
        false
    }

    /// Checks that `issuer` issued the certificate and was allowed to do so.
    fn check_issuer(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        is_trusted: bool,
        authorities_between: usize,
    ) -> Result<(), Refusal> {
        let is_authority = match issuer.extensions.basic {
            Some(basic) => basic.is_authority,
            // A certificate before version 3 cannot have basic constraints. If it is trusted, the
            // administrator has decided that it is a CA's.
            None => issuer.version < 3 && is_trusted,
        };
        if !is_authority {
            let fix = "reissue the CA's certificate with the basic constraint CA:TRUE";
            return Err(Refusal::of_issuer(issuer, "it is not a CA certificate", fix));
        }
        if issuer.extensions.may_sign == Some(false) {
            let fix = "reissue the CA's certificate with the key usage keyCertSign";
            return Err(Refusal::of_issuer(issuer, "its key usage lacks keyCertSign", fix));
        }
        signature::verify_issued(certificate, issuer, self.rules.algorithms).map_err(|reason| {
            let fix = format!(
                "check that --{} has the CA's newest certificate, and reissue this certificate \
                 with a supported key and algorithm",
                self.rules.flag
            );
            Refusal::of_issuer(issuer, &reason, &fix)
        })?;
        check_itself(issuer, self.rules.now)
            .map_err(|refusal| Refusal::of_issuer(issuer, &refusal.reason, &refusal.fix))?;
        let allowed = issuer.extensions.basic.and_then(|basic| basic.path_length);
        if allowed.is_some_and(|allowed| allowed < authorities_between as u64) {
            let fix = "reissue the CA's certificate with a larger path length";
            return Err(Refusal::of_issuer(issuer, "too many CA certificates are below it", fix));
        }
        Ok(())
    }
}

/// The certificates in `among` that may be the issuer of `of`. As in Go, those whose key identifier
/// `of` names come first.
fn candidates<'a>(of: &Certificate, among: &'a [Certificate]) -> Vec<&'a Certificate> {
    let mut found: Vec<_> = among.iter().filter(|one| one.subject == of.issuer).collect();
    let named = &of.extensions.authority_key;
    found.sort_by_key(|one| match &one.extensions.subject_key {
        key if key == named => 0,
        key if key.is_empty() || named.is_empty() => 1,
        _ => 2,
    });
    found
}

/// Whether two certificates have the same subject, key and alternative names.
fn is_same(a: &Certificate, b: &Certificate) -> bool {
    a.subject == b.subject
        && a.key_info == b.key_info
        && a.extensions.raw_names == b.extensions.raw_names
}

/// Checks of a whole chain, which begins with the leaf certificate: extended key usages, policies
/// and name constraints.
fn check_chain(chain: &[&Certificate], purpose: Purpose) -> Result<(), Refusal> {
    for certificate in chain {
        let Some(usages) = &certificate.extensions.usages else { continue };
        let (is_for, usage) = match purpose {
            Purpose::Client => (usages.client, "clientAuth"),
            Purpose::Server => (usages.server, "serverAuth"),
        };
        if !is_for && !usages.any {
            let whose = &certificate.subject_text;
            let reason = format!("{whose} has extended key usages, and {usage} is not one of them");
            let fix = format!("reissue {whose} with the extended key usage {usage}, or with none");
            return Err(Refusal::new(reason, fix, CertificateError::InvalidPurpose));
        }
    }
    // The policy extensions of the trusted certificate do not count.
    let below = &chain[..chain.len().saturating_sub(1)];
    if let Some(asking) = below.iter().find(|one| one.extensions.asks_for_policies) {
        let reason = format!("{} requires certificate policies", asking.subject_text);
        let fix = "reissue it without policy constraints: policies are not evaluated";
        return Err(Refusal::new(reason, fix, CertificateError::UnhandledCriticalExtension));
    }
    for (at, issuer) in chain.iter().enumerate() {
        let Some(constraints) = &issuer.extensions.constraints else { continue };
        for certificate in &chain[..at] {
            constraints.check(&certificate.extensions.names).map_err(|problem| {
                let reason =
                    format!("its issuer {} has name constraints: {problem}", issuer.subject_text);
                let fix = "reissue it for names that the constraints permit";
                Refusal::new(reason, fix, CertificateError::NotValidForName)
            })?;
        }
    }
    Ok(())
}
