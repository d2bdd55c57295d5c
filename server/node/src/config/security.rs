//! Certificates: of this member, of its clients, of other members.

use std::path::PathBuf;

use super::reader::Reader;
use super::url::Url;
use super::{Founding, Ports, Source};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    V12,
    V13,
}

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsVersions {
    pub(crate) oldest: TlsVersion,
    pub(crate) newest: TlsVersion,
}

/// The flags that name files, to be named where a file is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    pub(crate) certificate: &'static str,
    pub(crate) key: &'static str,
    pub(crate) authorities: &'static str,
}

const CLIENTS: TlsFlags =
    TlsFlags { certificate: "cert-file", key: "key-file", authorities: "trusted-ca-file" };
const PEERS: TlsFlags = TlsFlags {
    certificate: "peer-cert-file",
    key: "peer-key-file",
    authorities: "peer-trusted-ca-file",
};
pub(super) const DISCOVERY: TlsFlags = TlsFlags {
    certificate: "discovery-cert",
    key: "discovery-key",
    authorities: "discovery-cacert",
};

/// Who is let in of those with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Whose certificate has one of these common names.
    CommonNames(Vec<String>),
    /// Whose certificate is for one of these hosts.
    Hostnames(Vec<String>),
}

/// The server's side of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose certificates clients must show; `None` when they need not show any.
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) allowed: Option<Allowed>,
    pub(crate) versions: TlsVersions,
    pub(crate) flags: &'static TlsFlags,
}

/// The client's side of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientTls {
    /// The certificate and its key that are shown to servers.
    pub(crate) shown: Option<(PathBuf, PathBuf)>,
    /// Whose certificates servers must show; `None` for the authorities of the system.
    pub(crate) authorities: Option<PathBuf>,
    pub(crate) allowed: Option<Allowed>,
    /// The name that servers must have, if that is not the one in their URL.
    pub(crate) server_name: Option<String>,
    /// Whether the certificates of servers are verified.
    pub(crate) verifies: bool,
    pub(crate) versions: TlsVersions,
    pub(crate) flags: &'static TlsFlags,
}

/// TLS between members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerTls {
    /// For those who call this member; `None` when no port of its needs it.
    pub(crate) server: Option<ServerTls>,
    /// Whether they must call from an address that their certificate is for.
    pub(crate) verifies_origin: bool,
    /// For those whom it calls.
    pub(crate) client: ClientTls,
}

pub(super) fn read_versions(reader: &mut Reader<'_>) -> TlsVersions {
    let versions = [("TLS1.2", TlsVersion::V12), ("TLS1.3", TlsVersion::V13)];
    let oldest = reader.choice("tls-min-version", &versions);
    let newest = match reader.settings.get("tls-max-version") {
        "" => TlsVersion::V13,
        _ => reader.choice("tls-max-version", &versions),
    };
    if oldest > newest {
        reader.problem("tls-max-version", "it is older than --tls-min-version");
    }
    TlsVersions { oldest, newest }
}

/// A certificate and its key; neither can be without the other.
pub(super) fn read_pair(
    reader: &mut Reader<'_>,
    flags: &'static TlsFlags,
) -> Option<(PathBuf, PathBuf)> {
    let TlsFlags { certificate, key, .. } = flags;
    match (reader.path(certificate), reader.path(key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            reader.problem(key, format!("it is required when --{certificate} is set"));
            None
        }
        (None, Some(_)) => {
            reader.problem(certificate, format!("it is required when --{key} is set"));
            None
        }
        (None, None) => None,
    }
}

/// The authorities of those who call, who must show a certificate if there are any.
fn read_authorities(
    reader: &mut Reader<'_>,
    flags: &'static TlsFlags,
    required: &'static str,
) -> Option<PathBuf> {
    let is_required = reader.switch(required);
    let authorities = reader.path(flags.authorities);
    if is_required && authorities.is_none() {
        reader.problem(required, format!("it needs --{}", flags.authorities));
    }
    authorities
}

/// Names that a certificate must have: of no meaning where nobody shows one.
fn read_allowed(
    reader: &mut Reader<'_>,
    flag: &'static str,
    authorities: Option<&PathBuf>,
    flags: &'static TlsFlags,
) -> Vec<String> {
    let names = reader.list(flag);
    if !names.is_empty() && authorities.is_none() {
        reader.problem(flag, format!("it needs --{}", flags.authorities));
    }
    names
}

fn names(urls: impl Iterator<Item = impl ToString>) -> String {
    urls.map(|url| url.to_string()).collect::<Vec<_>>().join(", ")
}

/// TLS of the client port.
pub(super) fn read_clients(
    reader: &mut Reader<'_>,
    ports: &Ports,
    versions: TlsVersions,
) -> Option<ServerTls> {
    let flags = &CLIENTS;
    let authorities = read_authorities(reader, flags, "client-cert-auth");
    let hosts = read_allowed(reader, "client-cert-allowed-hostname", authorities.as_ref(), flags);
    let pair = read_pair(reader, flags);
    let is_half = reader.path("cert-file").is_some() != reader.path("key-file").is_some();
    let mut urls = ports.clients.iter().chain(&ports.pages).chain(&ports.metrics);
    let secure = urls.find(|url| url.scheme.is_secure());
    if let (Some(url), None, false) = (secure, &pair, is_half) {
        reader.problem("cert-file", format!("it is required, with --key-file, to serve {url}"));
    }
    if authorities.is_some() && secure.is_none() {
        reader.problem("trusted-ca-file", "no port uses TLS, so no client could be asked");
    }
    let (certificate, key) = pair?;
    let plain = ports.clients.iter().chain(&ports.pages).filter(|url| !url.scheme.is_secure());
    let plain = names(plain);
    if !plain.is_empty() {
        reader
            .warn(format!("certificates are given, but {plain} serves whoever comes, without TLS"));
    }
    let allowed = (!hosts.is_empty()).then_some(Allowed::Hostnames(hosts));
    Some(ServerTls { certificate, key, authorities, allowed, versions, flags })
}

/// TLS between members.
pub(super) fn read_peers(
    reader: &mut Reader<'_>,
    ports: &Ports,
    founding: &Founding,
    versions: TlsVersions,
) -> PeerTls {
    let flags = &PEERS;
    let authorities = read_authorities(reader, flags, "peer-client-cert-auth");
    let common_names = read_allowed(reader, "peer-cert-allowed-cn", authorities.as_ref(), flags);
    let hosts = read_allowed(reader, "peer-cert-allowed-hostname", authorities.as_ref(), flags);
    let allowed = match (common_names.is_empty(), hosts.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Allowed::CommonNames(common_names)),
        (true, false) => Some(Allowed::Hostnames(hosts)),
        (false, false) => {
            let text = "it cannot be used with --peer-cert-allowed-cn; use one of them";
            reader.problem("peer-cert-allowed-hostname", text);
            None
        }
    };
    let skips_origin = reader.switch("peer-skip-client-san-verification");
    let verifies_origin = authorities.is_some() && !skips_origin;
    let shown = read_pair(reader, flags);
    let is_half = reader.path("peer-cert-file").is_some() != reader.path("peer-key-file").is_some();
    let secure = ports.peers.iter().find(|url| url.scheme.is_secure());
    if let (Some(url), None, false) = (secure, &shown, is_half) {
        let text = format!("it is required, with --peer-key-file, to serve {url}");
        reader.problem("peer-cert-file", text);
    }
    if authorities.is_some() && secure.is_none() {
        // Not an error, as it is for clients: the same files are for calls to other members, and
        // a cluster gets them everywhere before the first URL changes to https.
        let text = "--peer-trusted-ca-file is given, but --listen-peer-urls has no URL with TLS: \
                    no member that calls is asked for a certificate";
        reader.warn(text);
    }
    warn_of_plain(reader, ports, founding, shown.is_some());
    let server = shown.clone().map(|(certificate, key)| {
        let (authorities, allowed) = (authorities.clone(), allowed.clone());
        ServerTls { certificate, key, authorities, allowed, versions, flags }
    });
    // As in etcd: with authorities of our own, a member must be the host in its URL. With those of
    // the system, whose certificates anybody can get, it must belong to the domain.
    let server_name = match &founding.source {
        Source::Srv { domain, .. } if authorities.is_none() => Some(domain.clone()),
        _ => None,
    };
    let client =
        ClientTls { shown, authorities, allowed, server_name, verifies: true, versions, flags };
    PeerTls { server, verifies_origin, client }
}

/// Warns where members speak to each other without TLS although they could.
fn warn_of_plain(reader: &mut Reader<'_>, ports: &Ports, founding: &Founding, has_pair: bool) {
    let plain = names(ports.peers.iter().filter(|url| !url.scheme.is_secure()));
    if has_pair && !plain.is_empty() {
        reader.warn(format!(
            "peer certificates are given, but {plain} serves whoever comes, without TLS"
        ));
    }
    let open = ports.peers.iter().filter(|url| !url.scheme.is_secure() && !url.is_local());
    let open = names(open);
    if !open.is_empty() && !has_pair {
        reader.warn(format!(
            "--listen-peer-urls: {open} lets everybody who reaches it act as a member, \
             who can read and change all data: use https with --peer-client-cert-auth, \
             or keep strangers away"
        ));
    }
    let mut reached: Vec<&Url> = founding.peer_urls.iter().collect();
    if let Source::Listed(founders) = &founding.source {
        reached.extend(founders.iter().map(|(_, url)| url));
    }
    let (secure, plain): (Vec<&Url>, Vec<&Url>) =
        reached.into_iter().partition(|url| url.scheme.is_secure());
    if !secure.is_empty() && !plain.is_empty() {
        reader.warn(format!(
            "members reach each other partly without TLS: {} beside {}",
            names(plain.into_iter()),
            names(secure.into_iter())
        ));
    }
}
