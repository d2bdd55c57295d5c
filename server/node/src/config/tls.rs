//! The settings of TLS, and the flags that all connections share.

use std::path::PathBuf;

use rustls::CipherSuite;

use super::reader::Reader;
use super::suites;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    V12,
    V13,
}

/// The versions and cipher suites of TLS that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsRules {
    pub(crate) oldest: TlsVersion,
    pub(crate) newest: TlsVersion,
    /// The cipher suites of TLS 1.2; `None` for all. Those of TLS 1.3 are always accepted.
    pub(crate) suites: Option<Vec<CipherSuite>>,
}

/// The names of the flags for the files, for error messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    pub(crate) certificate: &'static str,
    pub(crate) key: &'static str,
    pub(crate) authorities: &'static str,
}

/// The verified certificates that are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Certificates with one of these common names.
    CommonNames(Vec<String>),
    /// Certificates for one of these hosts.
    Hostnames(Vec<String>),
}

/// The server side of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The CA that must have issued the clients' certificates; `None` if clients need none.
    pub(crate) authorities: Option<PathBuf>,
    /// The list of certificates that their issuer has revoked.
    pub(crate) revoked: Option<RevokedFile>,
    pub(crate) allowed: Option<Allowed>,
    pub(crate) rules: TlsRules,
    pub(crate) flags: &'static TlsFlags,
}

/// The file of a certificate revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevokedFile {
    pub(crate) flag: &'static str,
    pub(crate) path: PathBuf,
}

/// The client side of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientTls {
    /// The client certificate and its key.
    pub(crate) pair: Option<(PathBuf, PathBuf)>,
    /// The CA that must have issued the servers' certificates; `None` for the system's CAs.
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) allowed: Option<Allowed>,
    /// The name that server certificates must be for, if it is not the host in the URL.
    pub(crate) server_name: Option<String>,
    /// Whether server certificates are verified.
    pub(crate) verifies: bool,
    pub(crate) rules: TlsRules,
    pub(crate) flags: &'static TlsFlags,
}

/// TLS between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerTls {
    /// For inbound connections; `None` if no certificate is given.
    pub(crate) server: Option<ServerTls>,
    /// Whether a peer's certificate must be for the address that the peer connects from.
    pub(crate) verifies_san: bool,
    /// For outbound connections.
    pub(crate) client: ClientTls,
}

pub(super) fn read_rules(reader: &mut Reader<'_>) -> TlsRules {
    let versions = [("TLS1.2", TlsVersion::V12), ("TLS1.3", TlsVersion::V13)];
    let oldest = reader.choice("tls-min-version", &versions);
    let newest = match reader.settings.get("tls-max-version") {
        "" => TlsVersion::V13,
        _ => reader.choice("tls-max-version", &versions),
    };
    if oldest > newest {
        reader.problem("tls-max-version", "must not be older than --tls-min-version");
    }
    let suites = suites::read(reader);
    if suites.is_some() && oldest == TlsVersion::V13 {
        // As in etcd, whose TLS library does not let a program choose these suites.
        reader.problem("cipher-suites", "the cipher suites of TLS 1.3 cannot be chosen");
    }
    TlsRules { oldest, newest, suites }
}

/// Reads the paths of a certificate and its key. One without the other is a problem.
pub(super) fn read_pair(
    reader: &mut Reader<'_>,
    flags: &'static TlsFlags,
) -> Option<(PathBuf, PathBuf)> {
    let TlsFlags { certificate, key, .. } = flags;
    match (reader.path(certificate), reader.path(key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            reader.problem(key, format!("required when --{certificate} is set"));
            None
        }
        (None, Some(_)) => {
            reader.problem(certificate, format!("required when --{key} is set"));
            None
        }
        (None, None) => None,
    }
}
