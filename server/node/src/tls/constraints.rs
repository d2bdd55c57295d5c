//! Name constraints: the names that a CA may issue certificates for.
//!
//! The rules are those of Go's `crypto/x509/constraints.go`. Below a CA with name constraints, a
//! name that this module cannot parse, such as a mailbox with quotes, is refused.

use std::net::IpAddr;

use super::der::{self, Der, SEQUENCE, Unreadable};
use super::names::Names;

/// Subtrees of names, by kind.
#[derive(Debug, Default)]
struct Subtrees {
    hosts: Vec<String>,
    emails: Vec<String>,
    uris: Vec<String>,
    /// Networks: an address followed by its mask.
    addresses: Vec<Vec<u8>>,
}

/// The names that a CA may and may not issue certificates for.
#[derive(Debug)]
pub(super) struct Constraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

impl Constraints {
    /// Parses the extension. Also returns whether all kinds of names in it are understood.
    pub(super) fn parse(value: &[u8]) -> Result<(Self, bool), Unreadable> {
        let mut fields = Der(der::only(value, SEQUENCE)?);
        let permitted = fields.optional(0xa0)?.unwrap_or_default();
        let excluded = fields.optional(0xa1)?.unwrap_or_default();
        fields.end()?;
        if permitted.is_empty() && excluded.is_empty() {
            return Err("its name constraints are empty");
        }
        let (permitted, understood) = Subtrees::parse(permitted)?;
        let (excluded, understood_too) = Subtrees::parse(excluded)?;
        Ok((Self { permitted, excluded }, understood && understood_too))
    }

    /// Checks that all names of a certificate below the CA are allowed. The error names the first
    /// one that is not.
    pub(super) fn check(&self, names: &Names) -> Result<(), String> {
        let permitted = &self.permitted;
        let excluded = &self.excluded;
        for address in &names.addresses {
            let lists = [&permitted.addresses, &excluded.addresses];
            let is_mapped = address != &address.to_canonical();
            check(address, lists, |subtree, is_excluded| {
                // An IPv4-mapped IPv6 address is not in any permitted network.
                holds(subtree, *address) && (is_excluded || !is_mapped)
            })?;
        }
        for host in &names.hosts {
            if !is_domain(host, false) {
                return Err(format!("{host:?} is not a host name"));
            }
            check(host, [&permitted.hosts, &excluded.hosts], |subtree, is_excluded| {
                is_below(host, subtree) || (is_excluded && may_stand_for(host, subtree))
            })?;
        }
        for email in &names.emails {
            let (local, domain) = mailbox(email).ok_or_else(|| unclear(email))?;
            check(email, [&permitted.emails, &excluded.emails], |subtree, _| {
                match subtree.rsplit_once('@') {
                    None => is_below(domain, subtree),
                    Some((whose, at)) => whose == local && at.eq_ignore_ascii_case(domain),
                }
            })?;
        }
        for uri in &names.uris {
            let host = host_of(uri).ok_or_else(|| unclear(uri))?;
            check(uri, [&permitted.uris, &excluded.uris], |subtree, _| is_below(host, subtree))?;
        }
        Ok(())
    }
}

fn unclear(name: &str) -> String {
    format!("{name:?} cannot be compared with its name constraints")
}

/// Checks that a name is in a permitted subtree, if there are any, and in no excluded one.
fn check<T>(
    name: &(impl std::fmt::Display + ?Sized),
    [permitted, excluded]: [&Vec<T>; 2],
    matches: impl Fn(&T, bool) -> bool,
) -> Result<(), String> {
    if !permitted.is_empty() && !permitted.iter().any(|subtree| matches(subtree, false)) {
        return Err(format!("{name} is not among the permitted names"));
    }
    if excluded.iter().any(|subtree| matches(subtree, true)) {
        Err(format!("{name} is among the excluded names"))
    } else {
        Ok(())
    }
}

impl Subtrees {
    fn parse(list: &[u8]) -> Result<(Self, bool), Unreadable> {
        const BAD: Unreadable = "a name constraint in it is malformed";
        let text = |bytes| match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => Ok(text.to_owned()),
            _ => Err(BAD),
        };
        let mut found = Self::default();
        let mut list = Der(list);
        let mut is_understood = true;
        while !list.is_empty() {
            let base = Der(list.take(SEQUENCE)?).any()?;
            let is_valid = match base.tag {
                0x81 => {
                    let name = text(base.data)?;
                    found.emails.push(name.clone());
                    if name.contains('@') {
                        mailbox(&name).is_some()
                    } else {
                        is_domain(&name, true)
                    }
                }
                0x82 => {
                    let name = text(base.data)?;
                    found.hosts.push(name.clone());
                    is_domain(&name, true)
                }
                0x86 => {
                    let name = text(base.data)?;
                    found.uris.push(name.clone());
                    is_domain(&name, true) && name.parse::<IpAddr>().is_err()
                }
                0x87 => {
                    found.addresses.push(base.data.to_vec());
                    matches!(base.data.len(), 8 | 32) && is_mask(&base.data[base.data.len() / 2..])
                }
                _ => {
                    is_understood = false;
                    true
                }
            };
            if !is_valid {
                return Err(BAD);
            }
        }
        Ok((found, is_understood))
    }
}

/// Whether the mask is ones followed by zeros.
fn is_mask(mask: &[u8]) -> bool {
    let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let set: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let first = mask.iter().position(|byte| *byte != 0xff).unwrap_or(mask.len());
    ones == set && mask.iter().skip(first + 1).all(|byte| *byte == 0)
}

/// Whether an address is in a network.
fn holds(network: &[u8], address: IpAddr) -> bool {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (base, mask) = network.split_at(network.len() / 2);
    base.len() == octets.len()
        && base.iter().zip(mask).zip(&octets).all(|((b, m), o)| b & m == o & m)
}

/// Whether a host is the domain or below it. If the domain begins with a dot, the host must be
/// below it. Every host is below the empty domain.
fn is_below(host: &str, domain: &str) -> bool {
    let Some(at) = host.len().checked_sub(domain.len()) else { return false };
    let above = &host.as_bytes()[..at];
    let end = &host.as_bytes()[at..];
    end.eq_ignore_ascii_case(domain.as_bytes())
        && (domain.is_empty() || domain.starts_with('.') || above.last().is_none_or(|c| *c == b'.'))
}

/// Whether a host with a wildcard matches an excluded host.
fn may_stand_for(host: &str, domain: &str) -> bool {
    let parent = domain.find('.').map(|at| &domain[at..]);
    let wild = host.strip_prefix('*').and_then(|rest| rest.find('.').map(|at| &rest[at..]));
    matches!((parent, wild), (Some(parent), Some(wild)) if parent.eq_ignore_ascii_case(wild))
}

/// Whether a name is a valid domain. In a constraint, it may begin with a dot.
fn is_domain(name: &str, is_constraint: bool) -> bool {
    if name.is_empty() {
        return true;
    }
    let name = name.strip_prefix('.').filter(|_| is_constraint).unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| (33..=126).contains(&byte))
    };
    name.split('.').all(is_label)
}

/// The local part and the domain of a mailbox without quotes; `None` for any other text.
fn mailbox(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.split_once('@')?;
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let is_local = !local.is_empty()
        && local.bytes().all(is_plain)
        && local.split('.').all(|part| !part.is_empty());
    let is_at = !domain.is_empty() && !domain.contains('@') && is_domain(domain, false);
    (is_local && is_at).then_some((local, domain))
}

/// The host of a URI; `None` if it has none or the host is an IP address.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let is_host = !host.is_empty() && !host.starts_with('[') && host.parse::<IpAddr>().is_err();
    (is_host && is_domain(host, false)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_include_the_hosts_below_them() {
        for (host, domain, expected) in [
            ("a.example", "a.example", true),
            ("A.Example", "a.example", true),
            ("x.a.example", "a.example", true),
            ("xa.example", "a.example", false),
            ("example", "a.example", false),
            ("x.a.example", ".a.example", true),
            ("a.example", ".a.example", false),
            ("anything", "", true),
            ("*.a.example", "a.example", true),
        ] {
            assert_eq!(is_below(host, domain), expected, "{host} below {domain}");
        }
        assert!(may_stand_for("*.example.com", "host.example.com"));
        assert!(!may_stand_for("*.example.com", "host.other.com"));
        assert!(!may_stand_for("a.example.com", "host.example.com"));
    }

    #[test]
    fn masks_are_ones_and_then_zeros() {
        for (mask, expected) in [
            (&[0xff, 0xff, 0, 0][..], true),
            (&[0xff, 0xf0, 0, 0], true),
            (&[0, 0, 0, 0], true),
            (&[0xff, 0xff, 0xff, 0xff], true),
            (&[0xff, 0, 0xff, 0], false),
            (&[0x0f, 0, 0, 0], false),
            (&[0xf0, 0xf0, 0, 0], false),
        ] {
            assert_eq!(is_mask(mask), expected, "{mask:?}");
        }
        assert!(holds(&[10, 1, 0, 0, 255, 255, 0, 0], "10.1.2.3".parse().unwrap()));
        assert!(!holds(&[10, 1, 0, 0, 255, 255, 0, 0], "10.2.2.3".parse().unwrap()));
        assert!(!holds(&[10, 1, 0, 0, 255, 255, 0, 0], "::1".parse().unwrap()));
    }

    #[test]
    fn only_plain_names_are_parsed() {
        assert_eq!(mailbox("a.b@c.example"), Some(("a.b", "c.example")));
        for text in ["", "@c", "a@", "\"a\"@c", "a..b@c", "a@b@c", ".a@c"] {
            assert_eq!(mailbox(text), None, "{text}");
        }
        assert_eq!(host_of("spiffe://cluster.local/ns/a"), Some("cluster.local"));
        assert_eq!(host_of("https://user@host.example:8080?x"), Some("host.example"));
        for text in ["urn:uuid:1", "https://10.0.0.1/", "https://[::1]:1/", "https:///x", ""] {
            assert_eq!(host_of(text), None, "{text}");
        }
    }
}
