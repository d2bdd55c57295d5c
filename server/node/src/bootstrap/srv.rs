//! Finds the members of a cluster in the SRV records of a domain.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

use super::error::BootstrapError;
use super::resolve::addresses;
use crate::config::url::{Scheme, Url};

/// The services whose records list members, each with the scheme of the members' URLs.
const SERVICES: [(&str, Scheme); 2] =
    [("etcd-server-ssl", Scheme::Https), ("etcd-server", Scheme::Http)];

/// The target of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    host: String,
    port: u16,
}

/// A member in the records, and its resolved addresses.
struct Found {
    url: Url,
    addresses: BTreeSet<SocketAddr>,
}

fn failed(domain: &str, problem: String) -> BootstrapError {
    BootstrapError::Srv { domain: domain.to_owned(), problem }
}

/// All members in the records, with their names. This member is the one that has an address of
/// `peer_urls`; its name is `name`. The names of the other members are numbers.
///
/// # Errors
/// There are no records, this member is not in them, or a host in them cannot be resolved. A host
/// must not be skipped, because members with different lists of founders never form a cluster.
pub(super) async fn find(
    domain: &str,
    suffix: &str,
    name: &str,
    peer_urls: &[Url],
) -> Result<Vec<(String, Url)>, BootstrapError> {
    let failed = |problem| failed(domain, problem);
    let mut mine = Vec::new();
    for url in peer_urls {
        mine.push((url.scheme, addresses(url).await.map_err(failed)?));
    }
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    let resolver = resolver.map_err(|error| failed(error.to_string()))?;
    let mut found: Vec<Found> = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    let mut services = SERVICES;
    // If a host is in the records of both services, the service with the scheme of this member's
    // own URLs wins, so it is looked up first.
    services.sort_by_key(|(_, scheme)| !mine.iter().any(|(known, _)| known == scheme));
    for (service, scheme) in services {
        let service = match suffix {
            "" => format!("_{service}._tcp.{domain}"),
            suffix => format!("_{service}-{suffix}._tcp.{domain}"),
        };
        let targets = match look_up(&resolver, &service).await {
            Ok(targets) => targets,
            Err(problem) => {
                problems.push(format!("{service}: {problem}"));
                continue;
            }
        };
        for target in targets {
            let url = url_of(scheme, &target).map_err(failed)?;
            let addresses = addresses(&url).await.map_err(failed)?;
            if found.iter().all(|known| known.addresses.is_disjoint(&addresses)) {
                tracing::info!(service, %url, "found a member in the SRV records");
                found.push(Found { url, addresses });
            }
        }
    }
    if found.is_empty() {
        return Err(failed(problems.join("; ")));
    }
    name_all(found, &mine, name).map_err(failed)
}

async fn look_up(resolver: &TokioResolver, service: &str) -> Result<BTreeSet<Target>, String> {
    let found = resolver.srv_lookup(service).await.map_err(|error| error.to_string())?;
    let targets = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => {
            // Names in records end with a dot; hosts in URLs do not.
            let host = srv.target.to_utf8().trim_end_matches('.').to_owned();
            Some(Target { host, port: srv.port })
        }
        _ => None,
    });
    Ok(targets.collect())
}

fn url_of(scheme: Scheme, target: &Target) -> Result<Url, String> {
    let Target { host, port } = target;
    let scheme = if scheme.is_secure() { "https" } else { "http" };
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Url::parse(&format!("{scheme}://{bracketed}:{port}"))
}

fn name_all(
    found: Vec<Found>,
    mine: &[(Scheme, BTreeSet<SocketAddr>)],
    name: &str,
) -> Result<Vec<(String, Url)>, String> {
    let mut members = Vec::new();
    let mut others = 0..found.len();
    let mut is_there = false;
    for Found { url, addresses } in found {
        let own = mine.iter().find(|(_, known)| !known.is_disjoint(&addresses));
        let name = match own {
            Some((scheme, _)) if *scheme != url.scheme => {
                return Err(format!(
                    "the records have this member as {url}, whose scheme differs from that of \
                     --initial-advertise-peer-urls"
                ));
            }
            Some(_) => {
                is_there = true;
                name.to_owned()
            }
            None => others.next().unwrap_or_default().to_string(),
        };
        members.push((name, url));
    }
    if is_there {
        Ok(members)
    } else {
        Err(format!(
            "this member, {name:?}, is not in the SRV records: none of their hosts has an \
             address of --initial-advertise-peer-urls"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str, address: &str) -> Found {
        Found {
            url: Url::parse(url).unwrap(),
            addresses: BTreeSet::from([address.parse().unwrap()]),
        }
    }

    #[test]
    fn members_get_names_and_this_one_is_found_by_its_address() {
        let mine = [(Scheme::Https, BTreeSet::from(["10.0.0.2:2380".parse().unwrap()]))];
        let records = || {
            vec![
                found("https://a.example:2380", "10.0.0.1:2380"),
                found("https://b.example:2380", "10.0.0.2:2380"),
                found("https://c.example:2380", "10.0.0.3:2380"),
            ]
        };
        let named = name_all(records(), &mine, "infra1").unwrap();
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["0", "infra1", "1"]);
        let mut plain = records();
        plain[1] = found("http://b.example:2380", "10.0.0.2:2380");
        assert!(name_all(plain, &mine, "infra1").unwrap_err().contains("http://b.example:2380"));
        let mut without = records();
        without.remove(1);
        assert!(name_all(without, &mine, "infra1").unwrap_err().contains("\"infra1\""));
    }
}
