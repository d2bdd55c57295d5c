//! Checks whether a peer's certificate is for the address that the peer connects from, as etcd does
//! between members.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;

/// Time limit of the reverse lookup of an address, and of the lookup of a certificate's hosts.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// The certificate is not accepted from the peer's address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SanError {
    /// The certificate is malformed.
    #[error("cannot read the names of the peer's certificate: {0}")]
    Unreadable(&'static str),
    /// The certificate is for other addresses.
    #[error("the certificate is for {names}, not for {remote}, the peer's address{problems}")]
    OtherAddress { remote: IpAddr, names: String, problems: String },
}

/// The addresses and hosts that a certificate is for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    addresses: Vec<IpAddr>,
    /// In lower case, because hosts are case-insensitive.
    hosts: Vec<String>,
}

impl Names {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, SanError> {
        let parsed = Certificate::parse(certificate).map_err(SanError::Unreadable)?;
        let names = parsed.extensions.names;
        Ok(Self {
            addresses: names.addresses.iter().map(IpAddr::to_canonical).collect(),
            hosts: names.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether a peer at `remote` is accepted; `None` if the hosts must be looked up to decide.
    fn accept_address(&self, remote: IpAddr) -> Option<bool> {
        if self.addresses.contains(&remote) {
            Some(true)
        } else if self.hosts.is_empty() {
            Some(self.addresses.is_empty())
        } else {
            None
        }
    }

    /// Whether `found`, a name of the peer's address, is one of the hosts or matches a wildcard.
    fn accept_host(&self, found: &str) -> bool {
        let found = found.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|host| match host.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => found.ends_with(suffix),
            _ => found == *host,
        })
    }

    /// The hosts without a wildcard, which can be resolved.
    fn hosts_to_look_up(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().filter(|host| !host.starts_with("*.")).cloned()
    }
}

/// The names of an address, from the hosts file or the DNS.
async fn hosts_of(address: IpAddr) -> Result<Vec<String>, String> {
    // A new resolver for each lookup, because the hosts file may change.
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    let resolver = resolver.map_err(|error| error.to_string())?;
    let found = resolver.reverse_lookup(address).await.map_err(|error| error.to_string())?;
    let names = found.answers().iter().filter_map(|record| match &record.data {
        RData::PTR(name) => Some(name.to_ascii()),
        _ => None,
    });
    Ok(names.collect())
}

/// The addresses of a host.
async fn addresses_of(host: String) -> Result<Vec<IpAddr>, String> {
    let found = tokio::net::lookup_host((host.as_str(), 0)).await;
    let found = found.map_err(|error| format!("{host}: {error}"))?;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

/// Whether a name of the address is one of the hosts. Adds lookup failures to `problems`.
async fn is_named(names: &Names, remote: IpAddr, problems: &mut Vec<String>) -> bool {
    match tokio::time::timeout(LOOKUP_TIMEOUT, hosts_of(remote)).await {
        Ok(Ok(found)) => return found.iter().any(|host| names.accept_host(host)),
        Ok(Err(problem)) => problems.push(format!("{remote}: {problem}")),
        Err(_) => problems.push(format!("{remote}: the reverse lookup timed out")),
    }
    false
}

/// Whether a host has the address. Adds lookup failures to `problems`.
async fn is_at(names: &Names, remote: IpAddr, problems: &mut Vec<String>) -> bool {
    // All lookups run concurrently, so that an unknown host does not use up the time of the others.
    let mut lookups: FuturesUnordered<_> = names.hosts_to_look_up().map(addresses_of).collect();
    let look = async {
        while let Some(found) = lookups.next().await {
            match found {
                Ok(found) if found.contains(&remote) => return true,
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        false
    };
    let looked = tokio::time::timeout(LOOKUP_TIMEOUT, look).await;
    looked.unwrap_or_else(|_| {
        problems.push("the lookups of some hosts timed out".to_owned());
        false
    })
}

/// Verifies that the peer's leaf certificate, if there is one, is for the address `remote`. A
/// certificate without addresses and hosts is accepted from everywhere.
///
/// # Errors
/// The certificate is not for the address, or it is malformed.
pub(crate) async fn verify(
    chain: Option<&[CertificateDer<'_>]>,
    remote: IpAddr,
) -> Result<(), SanError> {
    let Some(shown) = chain.and_then(<[_]>::first) else { return Ok(()) };
    let names = Names::of(shown)?;
    // A dual-stack socket reports IPv4 addresses as IPv4-mapped IPv6 ones.
    let remote = remote.to_canonical();
    let mut problems = Vec::new();
    let is_accepted = match names.accept_address(remote) {
        Some(is_accepted) => is_accepted,
        None => {
            is_named(&names, remote, &mut problems).await
                || is_at(&names, remote, &mut problems).await
        }
    };
    if is_accepted {
        return Ok(());
    }
    let addresses = names.addresses.iter().map(ToString::to_string);
    let names = addresses.chain(names.hosts).collect::<Vec<_>>().join(", ");
    let problems =
        if problems.is_empty() { String::new() } else { format!(" ({})", problems.join("; ")) };
    Err(SanError::OtherAddress { remote, names, problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(addresses: &[&str], hosts: &[&str]) -> Names {
        Names {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        }
    }

    #[test]
    fn addresses_decide_unless_there_are_hosts() {
        let accept = |names: Names| names.accept_address("10.0.0.1".parse().unwrap());
        assert_eq!(accept(names(&[], &[])), Some(true));
        assert_eq!(accept(names(&["10.0.0.2", "10.0.0.1"], &[])), Some(true));
        assert_eq!(accept(names(&["10.0.0.2"], &[])), Some(false));
        assert_eq!(accept(names(&["10.0.0.1"], &["a.example"])), Some(true));
        assert_eq!(accept(names(&["10.0.0.2"], &["a.example"])), None);
        assert_eq!(accept(names(&[], &["a.example"])), None);
    }

    #[test]
    fn a_host_is_accepted_by_its_name_or_a_wildcard() {
        let names = names(&[], &["a.example", "*.b.example"]);
        for found in ["a.example", "a.example.", "A.Example.", "x.b.example.", "y.x.b.example"] {
            assert!(names.accept_host(found), "{found}");
        }
        for found in ["b.example", "xb.example", "x.a.example", "*.example", "", "."] {
            assert!(!names.accept_host(found), "{found}");
        }
        assert_eq!(names.hosts_to_look_up().collect::<Vec<_>>(), ["a.example"]);
    }
}
