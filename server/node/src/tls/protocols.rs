//! The enabled versions and cipher suites of TLS.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{SupportedProtocolVersion, version};

use crate::config::{TlsRules, TlsVersion};

/// The versions from the oldest to the newest configured one.
pub(super) fn protocols(rules: &TlsRules) -> Vec<&'static SupportedProtocolVersion> {
    match (rules.oldest, rules.newest) {
        (TlsVersion::V13, _) => vec![&version::TLS13],
        (_, TlsVersion::V12) => vec![&version::TLS12],
        _ => vec![&version::TLS13, &version::TLS12],
    }
}

/// The cryptography, with the configured cipher suites.
pub(super) fn provider(rules: &TlsRules) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(suites) = &rules.suites {
        provider.cipher_suites.retain(|suite| {
            suite.version().version == version::TLS13.version || suites.contains(&suite.suite())
        });
    }
    provider
}
