//! Chains from a certificate to a trusted one, by Go's rules, which are etcd's.
//!
//! rustls's own verifier, webpki, refuses certificates that etcd takes: those of version 1, those
//! of an authority at the end of a chain, those for any extended usage. It takes chains that etcd
//! refuses, because it checks little of a trusted certificate: not its validity, not `CA:FALSE`,
//! not its usages. So this verifier stands alone: two in a row would take what either of them
//! takes.
//!
//! The rules, each with its place in Go's `crypto/x509`:
//!
//! 1. A chain begins with the certificate that is shown and ends with a trusted one. Between them
//!    are certificates that were shown with it (`Verify`).
//! 2. A trusted certificate vouches for itself, whether it is one of an authority or not
//!    (`Verify`).
//! 3. An issuer has, byte for byte, the name that the certificate gives its issuer
//!    (`findPotentialParents`, `isValid`). Its key made the signature, with SHA-256 or better
//!    (`CheckSignatureFrom`).
//! 4. An issuer has basic constraints that say `CA:TRUE` (`CheckSignatureFrom`). Only a trusted one
//!    of version 1 or 2, which has no place for them, goes without (`isValid`).
//! 5. The key usage of an issuer, if it has one, includes signing certificates
//!    (`CheckSignatureFrom`). That of the last certificate does not matter.
//! 6. No more authorities come between an issuer and the last certificate than its path length
//!    allows (`isValid`).
//! 7. Now is within the validity of each certificate, the trusted one included (`isValid`).
//! 8. No certificate has a critical extension that is not understood (`isValid`).
//! 9. Each certificate of a chain that lists extended usages, the trusted one included, lists that
//!    of a client or a server, or any (`checkChainForKeyUsage`).
//! 10. The names of each certificate are within the name constraints of all above it
//!     (`checkChainConstraints`).
//! 11. No chain has a certificate twice, and no more than a hundred signatures are looked at
//!     (`alreadyInChain`, `buildChains`).
//!
//! Stricter than Go: chains that ask for certificate policies are refused, because policies are not
//! evaluated; RSA keys have 2048 to 8192 bits; P-224 is not known; extensions before version 3 are
//! refused, where Go passes over them.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;

use super::certificate::Certificate;
use super::signature;

/// Signatures that are looked at for one certificate: a bound on the work that a stranger can
/// cause.
const SIGNATURES: usize = 100;

/// Why a certificate is refused, and what can be done about it.
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

    /// An authority cannot be the issuer.
    fn of_issuer(issuer: &Certificate, reason: &str, fix: &str) -> Self {
        let reason = format!("its issuer {} cannot vouch for it: {reason}", issuer.subject_text);
        Self::new(reason, fix, CertificateError::UnknownIssuer)
    }
}

/// What a certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Client,
    Server,
}

/// Where to look for issuers, and how.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) trusted: &'a [Certificate],
    /// The flag that names those.
    pub(super) flag: &'static str,
    pub(super) purpose: Purpose,
    pub(super) now: UnixTime,
    pub(super) algorithms: &'a WebPkiSupportedAlgorithms,
}

/// Verifies that a trusted certificate vouches for one that is shown, with others or without.
///
/// # Errors
/// None does.
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
            "add the certificate of {issuer_text} to the file of --{flag}; if that is an \
             intermediate authority, it can also follow the certificate that is shown"
        );
        let reason = format!("no trusted authority is its issuer, {issuer_text}");
        Refusal::new(reason, fix, CertificateError::UnknownIssuer)
    }))
}

/// What must be true of each certificate by itself.
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
        let reason = format!("it is not valid for another {} s", certificate.not_before - seconds);
        return Err(Refusal::new(reason, "set the clock of this machine, or issue it anew", error));
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
    /// Signatures that may still be looked at.
    left: usize,
    /// Why the first chain that came to mind is none.
    refusal: Option<Refusal>,
}

impl<'a> Search<'a> {
    /// Whether a chain can be made longer until it ends with a trusted certificate.
    fn extend(&mut self, chain: &mut Vec<&'a Certificate>) -> bool {
        let Some(&last) = chain.last() else { return false };
        let trusted = candidates(last, self.rules.trusted).into_iter().map(|one| (one, true));
        let others = candidates(last, self.others).into_iter().map(|one| (one, false));
        for (issuer, is_trusted) in trusted.chain(others) {
            if self.left == 0 {
                let fix = "show fewer certificates, or trust fewer of the same name";
                let error = CertificateError::UnknownIssuer;
                let reason = "too many certificates could be that of its issuer";
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

    /// Whether an authority issued a certificate, and could do so.
    fn check_issuer(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        is_trusted: bool,
        authorities_between: usize,
    ) -> Result<(), Refusal> {
        let is_authority = match issuer.extensions.basic {
            Some(basic) => basic.is_authority,
            // Before version 3 there was no place to say so; the administrator who trusts it must
            // know.
            None => issuer.version < 3 && is_trusted,
        };
        if !is_authority {
            let fix = "issue the authority's certificate anew with the basic constraint CA:TRUE";
            return Err(Refusal::of_issuer(issuer, "it is not an authority's", fix));
        }
        if issuer.extensions.may_sign == Some(false) {
            let fix = "issue the authority's certificate anew with the key usage keyCertSign";
            return Err(Refusal::of_issuer(issuer, "its key usage is not to sign any", fix));
        }
        signature::verify_issued(certificate, issuer, self.rules.algorithms).map_err(|reason| {
            let fix = format!(
                "see whether --{} has the authority's newest certificate, and issue this one anew \
                 with a key and an algorithm that are supported",
                self.rules.flag
            );
            Refusal::of_issuer(issuer, &reason, &fix)
        })?;
        check_itself(issuer, self.rules.now)
            .map_err(|refusal| Refusal::of_issuer(issuer, &refusal.reason, &refusal.fix))?;
        let allowed = issuer.extensions.basic.and_then(|basic| basic.path_length);
        if allowed.is_some_and(|allowed| allowed < authorities_between as u64) {
            let fix = "issue the authority's certificate anew with a greater path length";
            return Err(Refusal::of_issuer(issuer, "too many authorities are below it", fix));
        }
        Ok(())
    }
}

/// The certificates of whoever may have issued one, those first whose key it names.
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

/// Whether two certificates are of the same holder with the same key and names.
fn is_same(a: &Certificate, b: &Certificate) -> bool {
    a.subject == b.subject
        && a.key_info == b.key_info
        && a.extensions.raw_names == b.extensions.raw_names
}

/// What must be true of a whole chain, which begins with the certificate that is shown.
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
            let fix =
                format!("issue {whose} anew with the extended key usage {usage}, or with none");
            return Err(Refusal::new(reason, fix, CertificateError::InvalidPurpose));
        }
    }
    // The trusted certificate is none that policies are asked of.
    let below = &chain[..chain.len().saturating_sub(1)];
    if let Some(asking) = below.iter().find(|one| one.extensions.asks_for_policies) {
        let reason = format!("{} asks for certificate policies", asking.subject_text);
        let fix = "issue it anew without policy constraints: they are not evaluated";
        return Err(Refusal::new(reason, fix, CertificateError::UnhandledCriticalExtension));
    }
    for (at, issuer) in chain.iter().enumerate() {
        let Some(constraints) = &issuer.extensions.constraints else { continue };
        for certificate in &chain[..at] {
            constraints.check(&certificate.extensions.names).map_err(|problem| {
                let reason = format!(
                    "its authority {} has name constraints: {problem}",
                    issuer.subject_text
                );
                let fix = "issue it for names that its authority is permitted";
                Refusal::new(reason, fix, CertificateError::NotValidForName)
            })?;
        }
    }
    Ok(())
}
