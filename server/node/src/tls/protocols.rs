//! The enabled versions of TLS.

use rustls::{SupportedProtocolVersion, version};

use crate::config::{TlsVersion, TlsVersions};

/// The versions from the oldest to the newest configured one.
pub(super) fn protocols(versions: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    match (versions.oldest, versions.newest) {
        (TlsVersion::V13, _) => vec![&version::TLS13],
        (_, TlsVersion::V12) => vec![&version::TLS12],
        _ => vec![&version::TLS13, &version::TLS12],
    }
}
