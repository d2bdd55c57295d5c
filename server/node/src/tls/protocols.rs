//! The versions of TLS that are spoken.

use rustls::{SupportedProtocolVersion, version};

use crate::config::{TlsVersion, TlsVersions};

/// Those between the oldest and the newest that are wanted.
pub(super) fn protocols(versions: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    match (versions.oldest, versions.newest) {
        (TlsVersion::V13, _) => vec![&version::TLS13],
        (_, TlsVersion::V12) => vec![&version::TLS12],
        _ => vec![&version::TLS13, &version::TLS12],
    }
}
