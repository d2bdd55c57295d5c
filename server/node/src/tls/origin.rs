//! Whether a certificate is for the address from which it is shown, as etcd asks of members.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use rustls::pki_types::CertificateDer;

use super::certificate::Certificate;

/// Time for the names of an address, and again for the addresses of names.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a certificate is not accepted from where it is shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    /// Nothing can be said of it.
    #[error("cannot read whom the certificate is for: {0}")]
    Unreadable(&'static str),
    /// It is somebody else's.
    #[error("the certificate is for {names}, not for {remote}, from where it is shown{problems}")]
    Elsewhere { remote: IpAddr, names: String, problems: String },
}

/// Addresses and hosts that a certificate is for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    addresses: Vec<IpAddr>,
    /// In lower case, because hosts are the same in either.
    hosts: Vec<String>,
}

impl Names {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, OriginError> {
        let parsed = Certificate::parse(certificate).map_err(OriginError::Unreadable)?;
        let names = parsed.extensions.names;
        Ok(Self {
            addresses: names.addresses.iter().map(IpAddr::to_canonical).collect(),
            hosts: names.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether whoever calls from `remote` is let in; `None` where that is up to the hosts.
    fn accept_address(&self, remote: IpAddr) -> Option<bool> {
        match self.hosts.is_empty() {
            _ if self.addresses.contains(&remote) => Some(true),
            true => Some(self.addresses.is_empty()),
            false => None,
        }
    }

    /// Whether a name of an address is that of a host, or below that of a wildcard.
    fn accept_host(&self, found: &str) -> bool {
        let found = found.trim_end_matches('.').to_ascii_lowercase();
        self.hosts.iter().any(|host| match host.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => found.ends_with(suffix),
            _ => found == *host,
        })
    }

    /// Hosts that can have addresses.
    fn hosts_to_look_up(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().filter(|host| !host.starts_with("*.")).cloned()
    }
}

/// The names of an address, from the file of hosts or the domain name system.
async fn hosts_of(address: IpAddr) -> Result<Vec<String>, String> {
    // Made anew for each question, because the file of hosts may change.
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

/// Whether a name of the address is that of a host. What goes wrong is added to `problems`.
async fn is_named(names: &Names, remote: IpAddr, problems: &mut Vec<String>) -> bool {
    match tokio::time::timeout(LOOKUP_TIMEOUT, hosts_of(remote)).await {
        Ok(Ok(found)) => return found.iter().any(|host| names.accept_host(host)),
        Ok(Err(problem)) => problems.push(format!("{remote}: {problem}")),
        Err(_) => problems.push(format!("{remote}: its names are not found in time")),
    }
    false
}

/// Whether a host has the address. What goes wrong is added to `problems`.
async fn is_at(names: &Names, remote: IpAddr, problems: &mut Vec<String>) -> bool {
    // All at once, so that a host nobody knows does not use up the others' time.
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
        problems.push("not all hosts are found in time".to_owned());
        false
    })
}

/// Verifies that a chain of certificates, if one is shown, is for the address it is shown from. One
/// that is for no address and no host at all is good everywhere.
///
/// # Errors
/// It is not, or what it is for cannot be read.
pub(crate) async fn verify(
    chain: Option<&[CertificateDer<'_>]>,
    remote: IpAddr,
) -> Result<(), OriginError> {
    let Some(shown) = chain.and_then(<[_]>::first) else { return Ok(()) };
    let names = Names::of(shown)?;
    // A port for both kinds of addresses shows those of IPv4 as addresses of IPv6.
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
    Err(OriginError::Elsewhere { remote, names, problems })
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
