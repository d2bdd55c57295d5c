//! Reads the TLS flags: certificates of this member, of its clients and of other members.

use std::path::PathBuf;

use super::cluster::{InitialCluster, Source};
use super::ports::Ports;
use super::reader::Reader;
use super::self_signed::SelfSigned;
use super::tls::{
    Allowed, ClientTls, PeerTls, RevokedFile, ServerTls, TlsFlags, TlsRules, read_pair,
};
use super::url::Url;

const CLIENTS: TlsFlags =
    TlsFlags { certificate: "cert-file", key: "key-file", authorities: "trusted-ca-file" };
const PEERS: TlsFlags = TlsFlags {
    certificate: "peer-cert-file",
    key: "peer-key-file",
    authorities: "peer-trusted-ca-file",
};

/// The certificate for outbound calls to other members, if it is not the one for inbound calls.
const CALLS: TlsFlags = TlsFlags {
    certificate: "peer-client-cert-file",
    key: "peer-client-key-file",
    authorities: "peer-trusted-ca-file",
};

/// Reads the CA file for inbound connections. If it is given, clients must present a certificate.
/// `required` is the flag that requires client certificates and therefore the file.
fn read_authorities(
    reader: &mut Reader<'_>,
    flags: &'static TlsFlags,
    required: &'static str,
) -> Option<PathBuf> {
    let is_required = reader.switch(required);
    let authorities = reader.path(flags.authorities);
    if is_required && authorities.is_none() {
        reader.problem(required, format!("requires --{}", flags.authorities));
    }
    authorities
}

/// Reads the allowed names, common names or hosts: a certificate must have one of them. Names
/// without a CA file are a problem, because no certificate would be checked.
fn read_allowed(
    reader: &mut Reader<'_>,
    [for_names, for_hosts]: [&'static str; 2],
    authorities: Option<&PathBuf>,
    flags: &'static TlsFlags,
) -> Option<Allowed> {
    let [names, hosts] = [for_names, for_hosts].map(|flag| {
        let names = reader.list(flag);
        if !names.is_empty() && authorities.is_none() {
            reader.problem(flag, format!("requires --{}", flags.authorities));
        }
        names
    });
    match (names.is_empty(), hosts.is_empty()) {
        (true, true) => None,
        (false, true) => Some(Allowed::CommonNames(names)),
        (true, false) => Some(Allowed::Hostnames(hosts)),
        (false, false) => {
            let text = format!("cannot be used with --{for_names}; use one of them");
            reader.problem(for_hosts, text);
            None
        }
    }
}

/// Reads the file of the list of revoked certificates. Without a CA file it is a problem, because
/// no certificate would be checked.
fn read_revoked(
    reader: &mut Reader<'_>,
    flag: &'static str,
    authorities: Option<&PathBuf>,
    flags: &'static TlsFlags,
) -> Option<RevokedFile> {
    let path = reader.path(flag)?;
    if authorities.is_none() {
        reader.problem(flag, format!("requires --{}", flags.authorities));
    }
    Some(RevokedFile { flag, path })
}

fn names(urls: impl Iterator<Item = impl ToString>) -> String {
    urls.map(|url| url.to_string()).collect::<Vec<_>>().join(", ")
}

/// TLS of the client port.
pub(super) fn read_clients(
    reader: &mut Reader<'_>,
    ports: &Ports,
    rules: &TlsRules,
    made: Option<&SelfSigned>,
) -> Option<ServerTls> {
    let flags = &CLIENTS;
    let authorities = read_authorities(reader, flags, "client-cert-auth");
    let revoked = read_revoked(reader, "client-crl-file", authorities.as_ref(), flags);
    let names_flags = ["client-cert-allowed-cn", "client-cert-allowed-hostname"];
    let allowed = read_allowed(reader, names_flags, authorities.as_ref(), flags);
    let pair = read_pair(reader, flags).or_else(|| made.map(SelfSigned::pair));
    let is_half = reader.path("cert-file").is_some() != reader.path("key-file").is_some();
    let mut urls = ports.clients.iter().chain(&ports.pages).chain(&ports.metrics);
    let secure = urls.find(|url| url.scheme.is_secure());
    if let Some(url) = secure
        && pair.is_none()
        && !is_half
    {
        reader.problem("cert-file", format!("required, with --key-file, to serve {url}"));
    }
    if authorities.is_some() && secure.is_none() {
        let text = "no port uses TLS, so no client certificate would be checked";
        reader.problem("trusted-ca-file", text);
    }
    let (certificate, key) = pair?;
    let plain = ports.clients.iter().chain(&ports.pages).filter(|url| !url.scheme.is_secure());
    let plain = names(plain);
    if !plain.is_empty() {
        let text = "certificates are given, but clients are served without TLS at";
        reader.warn(format!("{text} {plain}"));
    }
    let rules = rules.clone();
    Some(ServerTls { certificate, key, authorities, revoked, allowed, rules, flags })
}

/// TLS between members.
pub(super) fn read_peers(
    reader: &mut Reader<'_>,
    ports: &Ports,
    cluster: &InitialCluster,
    rules: &TlsRules,
    made: Option<&SelfSigned>,
) -> PeerTls {
    let flags = &PEERS;
    let authorities = read_authorities(reader, flags, "peer-client-cert-auth");
    let revoked = read_revoked(reader, "peer-crl-file", authorities.as_ref(), flags);
    let names_flags = ["peer-cert-allowed-cn", "peer-cert-allowed-hostname"];
    let allowed = read_allowed(reader, names_flags, authorities.as_ref(), flags);
    let skips_san = reader.switch("peer-skip-client-san-verification");
    let verifies_san = authorities.is_some() && !skips_san;
    let pair = read_pair(reader, flags).or_else(|| made.map(SelfSigned::pair));
    let is_half = reader.path("peer-cert-file").is_some() != reader.path("peer-key-file").is_some();
    let secure = ports.peers.iter().find(|url| url.scheme.is_secure());
    if let Some(url) = secure
        && pair.is_none()
        && !is_half
    {
        let text = format!("required, with --peer-key-file, to serve {url}");
        reader.problem("peer-cert-file", text);
    }
    if authorities.is_some() && secure.is_none() {
        // Only a warning, unlike for clients: outbound connections use the same file, and a cluster
        // migrates by configuring the files everywhere before the first URL changes to https.
        let text = "--peer-trusted-ca-file is given, but --listen-peer-urls has no https URL: \
                    the certificates of calling members are not checked";
        reader.warn(text);
    }
    warn_of_plain(reader, ports, cluster, pair.is_some());
    let server = pair.clone().map(|(certificate, key)| {
        let authorities = authorities.clone();
        let allowed = allowed.clone();
        let rules = rules.clone();
        ServerTls { certificate, key, authorities, revoked, allowed, rules, flags }
    });
    // As in etcd: with a CA file, a member's certificate must be for the host in its URL. With the
    // system's CAs, which issue certificates to any applicant, it must be for the domain of the SRV
    // records.
    let server_name = match &cluster.source {
        Source::Srv { domain, .. } if authorities.is_none() => Some(domain.clone()),
        _ => None,
    };
    let (pair, flags) = match read_pair(reader, &CALLS) {
        Some(pair) => (Some(pair), &CALLS),
        None => (pair, flags),
    };
    // As in etcd: no member can verify the certificates that the others make themselves.
    let verifies = made.is_none();
    let rules = rules.clone();
    let client = ClientTls { pair, authorities, allowed, server_name, verifies, rules, flags };
    PeerTls { server, verifies_san, client }
}

/// Warns of peer URLs without TLS.
fn warn_of_plain(reader: &mut Reader<'_>, ports: &Ports, cluster: &InitialCluster, has_pair: bool) {
    let plain = names(ports.peers.iter().filter(|url| !url.scheme.is_secure()));
    if has_pair && !plain.is_empty() {
        let text = "peer certificates are given, but members are served without TLS at";
        reader.warn(format!("{text} {plain}"));
    }
    let open = ports.peers.iter().filter(|url| !url.scheme.is_secure() && !url.is_local());
    let open = names(open);
    if !open.is_empty() && !has_pair {
        reader.warn(format!(
            "--listen-peer-urls: every host that reaches {open} can act as a member, and read and \
             change all data: use https with --peer-client-cert-auth, or a firewall"
        ));
    }
    let mut reached: Vec<&Url> = cluster.peer_urls.iter().collect();
    if let Source::Listed(founders) = &cluster.source {
        reached.extend(founders.iter().map(|(_, url)| url));
    }
    let (secure, plain): (Vec<&Url>, Vec<&Url>) =
        reached.into_iter().partition(|url| url.scheme.is_secure());
    if !secure.is_empty() && !plain.is_empty() {
        reader.warn(format!(
            "some members use TLS and others do not: {} and {}",
            names(plain.into_iter()),
            names(secure.into_iter())
        ));
    }
}
