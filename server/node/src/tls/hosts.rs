//! Checks whether a certificate is for a host, by the rules of Go's `VerifyHostname`.
//!
//! IP addresses are compared only with IP addresses. A wildcard matches the whole first label of a
//! host. The common name is ignored.

use std::net::IpAddr;

use super::names::Names;

/// Whether the names include `host`, which is a host name or an IP address, with or without
/// brackets.
pub(super) fn include(names: &Names, host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        return names.addresses.iter().any(|found| found.to_canonical() == address);
    }
    let is_host = is_valid(host.strip_suffix('.').unwrap_or(host), false);
    names.hosts.iter().any(|pattern| {
        if is_host && is_valid(pattern, true) {
            matches(pattern, host.strip_suffix('.').unwrap_or(host))
        } else {
            // Names that are not valid host names are compared as a whole.
            !matches!(host, "" | ".") && pattern != "." && pattern.eq_ignore_ascii_case(host)
        }
    })
}

fn matches(pattern: &str, host: &str) -> bool {
    let mut patterns = pattern.split('.');
    let mut labels = host.split('.');
    let first = patterns.next();
    let label = labels.next();
    let is_first = first == Some("*") || is_same(first, label);
    is_first && {
        loop {
            match (patterns.next(), labels.next()) {
                (None, None) => break true,
                (pattern, label) if is_same(pattern, label) => {}
                _ => break false,
            }
        }
    }
}

fn is_same(a: Option<&str>, b: Option<&str>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

fn is_valid(host: &str, is_pattern: bool) -> bool {
    let is_label = |(at, label): (usize, &str)| {
        (is_pattern && at == 0 && label == "*")
            || (!label.is_empty()
                && !label.starts_with('-')
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')))
    };
    host != "*" && host.split('.').enumerate().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_matched_by_label() {
        for (pattern, host, expected) in [
            ("a.example", "a.example", true),
            ("a.example", "A.Example.", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "b.a.example", false),
            ("*.example", "example", false),
            ("*", "example", false),
            ("a*.example", "ab.example", false),
            ("a.example.", "a.example", false),
            ("a_b.example", "a_b.example", true),
            ("a:b", "A:b", true),
            ("127.0.0.1", "127.0.0.1", false),
            ("", "", false),
        ] {
            let names = Names { hosts: vec![pattern.to_owned()], ..Names::default() };
            assert_eq!(include(&names, host), expected, "{pattern:?} for {host:?}");
        }
    }

    #[test]
    fn addresses_are_matched_by_address() {
        let names =
            |text: &str| Names { addresses: vec![text.parse().unwrap()], ..Names::default() };
        for (name, host, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("::1", "[::1]", true),
            ("::1", "0:0:0:0:0:0:0:1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "10.0.0.1.example", false),
        ] {
            assert_eq!(include(&names(name), host), expected, "{name} for {host}");
        }
    }
}
