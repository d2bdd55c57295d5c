//! Compares URLs by the addresses that their hosts resolve to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::url::{Scheme, Url};

/// Time during which resolving a name is retried, as in etcd: the DNS may learn a member's name
/// only a moment after the member starts.
const RESOLVE_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a name is tried again, as in etcd.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The addresses that a URL's host resolves to; none for a Unix socket. Retries for
/// [`RESOLVE_WITHIN`].
///
/// # Errors
/// The host cannot be resolved.
pub(super) async fn addresses(url: &Url) -> Result<BTreeSet<SocketAddr>, String> {
    if matches!(url.scheme, Scheme::Unix | Scheme::Unixs) {
        return Ok(BTreeSet::new());
    }
    let since = Instant::now();
    loop {
        let problem = match tokio::net::lookup_host(url.authority()).await {
            Ok(found) => {
                let found: BTreeSet<SocketAddr> = found.collect();
                if !found.is_empty() {
                    return Ok(found);
                }
                "the name has no address".to_owned()
            }
            Err(error) => error.to_string(),
        };
        if since.elapsed() > RESOLVE_WITHIN {
            return Err(format!("cannot resolve {url}: {problem}"));
        }
        tracing::warn!(%url, problem, "cannot resolve the host of a URL yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Whether two lists of URLs are the same: each URL of one list equals a URL of the other, or has
/// the same scheme and port and a common address.
///
/// # Errors
/// A host cannot be resolved.
pub(super) async fn are_same(a: &[Url], b: &[Url]) -> Result<bool, String> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let mut others: Vec<&Url> = b.iter().filter(|url| !a.contains(url)).collect();
    for url in a.iter().filter(|url| !b.contains(url)) {
        let Some(same) = position(url, &others).await? else { return Ok(false) };
        others.swap_remove(same);
    }
    Ok(others.is_empty())
}

/// The index of the URL that leads to the same address as `url`.
async fn position(url: &Url, others: &[&Url]) -> Result<Option<usize>, String> {
    for (at, other) in others.iter().enumerate() {
        // URLs that differ in scheme or port cannot be the same, so their hosts are not resolved.
        let port = |url: &Url| url.authority().rsplit_once(':').map(|(_, port)| port.to_owned());
        if url.scheme != other.scheme || port(url) != port(other) {
            continue;
        }
        if !addresses(url).await?.is_disjoint(&addresses(other).await?) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Url> {
        Url::parse_list(text).unwrap()
    }

    #[tokio::test]
    async fn hosts_are_compared_by_their_addresses() {
        let same = async |a, b| are_same(&list(a), &list(b)).await;
        assert_eq!(same("http://localhost:1", "http://127.0.0.1:1").await, Ok(true));
        assert_eq!(
            same("http://localhost:1,http://10.0.0.1:2", "http://10.0.0.1:2,http://127.0.0.1:1")
                .await,
            Ok(true)
        );
        for other in [
            "http://127.0.0.1:2",
            "https://127.0.0.1:1",
            "http://127.0.0.2:1",
            "http://127.0.0.1:1,http://127.0.0.1:2",
            "unix://localhost:1",
        ] {
            assert_eq!(same("http://localhost:1", other).await, Ok(false), "{other}");
        }
    }
}
