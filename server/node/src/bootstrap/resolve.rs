//! Whether two URLs lead to the same place.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::url::{Scheme, Url};

/// How long names are tried to be resolved, as in etcd: a name may be made known only a moment
/// after the member that has it.
const RESOLVE_WITHIN: Duration = Duration::from_secs(30);
/// Pause before a name is tried again, as in etcd.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The addresses to which a URL leads; none for a socket in the file system.
///
/// # Errors
/// Why its name cannot be resolved.
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
                "it has no address".to_owned()
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

/// Whether two lists of URLs, both in order, lead to the same places: they are the same, or their
/// names resolve to the same addresses.
///
/// # Errors
/// Why a name cannot be resolved.
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

/// Where the URL is that leads to the same place as `url`.
async fn position(url: &Url, others: &[&Url]) -> Result<Option<usize>, String> {
    for (at, other) in others.iter().enumerate() {
        // Nothing is looked up for what cannot be the same.
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
    async fn names_are_compared_by_what_they_resolve_to() {
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
