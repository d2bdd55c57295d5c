//! Parses the URLs of ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The URL of a port: a scheme and an address, nothing more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// Host and port, or the path of a socket.
    address: String,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Unix, Self::Unixs];

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
            Self::Unixs => "unixs",
        }
    }

    /// Whether connections are encrypted.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Unixs)
    }
}

/// The address at which a port listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BindAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    /// The text is not a URL of a port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, address)) = text.split_once("://") else {
            return Err(format!("{text:?} is not a URL such as http://127.0.0.1:2379"));
        };
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.name() == scheme) else {
            return Err(format!("{text:?} must begin with http, https, unix or unixs"));
        };
        let url = Self { scheme, address: address.to_owned() };
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            if address.is_empty() {
                return Err(format!("{text:?} names no socket"));
            }
            return Ok(url);
        }
        if address.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} must not contain spaces"));
        }
        if address.contains(['/', '?', '#', '@']) {
            return Err(format!("{text:?} must have only a host and a port after the scheme"));
        }
        let Some((host, port)) = address.rsplit_once(':') else {
            return Err(format!("{text:?} has no port"));
        };
        let brackets = host.starts_with('[') && host.ends_with(']');
        if port.parse::<u16>().is_err() || (host.contains(':') && !brackets) {
            return Err(format!("{text:?} has no port between 0 and 65535"));
        }
        Ok(url)
    }

    /// Parses URLs separated by commas; sorts them, as etcd does.
    ///
    /// # Errors
    /// One problem for each invalid URL.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, Vec<String>> {
        let mut urls = Vec::new();
        let mut problems = Vec::new();
        for part in text.split(',') {
            match Self::parse(part.trim()) {
                Ok(url) => urls.push(url),
                Err(problem) => problems.push(problem),
            }
        }
        urls.sort();
        if problems.is_empty() { Ok(urls) } else { Err(problems) }
    }

    /// Whether only programs on this machine can reach the port.
    pub(crate) fn is_local(&self) -> bool {
        match self.bind_address() {
            Ok(BindAddress::Tcp(address)) => address.ip().is_loopback(),
            Ok(BindAddress::Unix(_)) => true,
            Err(_) => false,
        }
    }

    /// The host and port, or the path of the socket, to connect to.
    pub(crate) fn authority(&self) -> &str {
        &self.address
    }

    /// The host, without the brackets of an IPv6 address. For a Unix socket, it is the file name up
    /// to the first colon, as in etcd.
    pub(crate) fn host(&self) -> &str {
        let host = match self.scheme {
            Scheme::Http | Scheme::Https => self.address.rsplit_once(':').map(|(host, _)| host),
            Scheme::Unix | Scheme::Unixs => {
                let file = self.address.rsplit('/').next();
                file.map(|file| file.split(':').next().unwrap_or(file))
            }
        };
        host.unwrap_or(&self.address).trim_start_matches('[').trim_end_matches(']')
    }

    /// The address to listen at. Host names are not resolved, because their addresses may change.
    ///
    /// # Errors
    /// The host is neither an IP address nor `localhost`.
    pub(crate) fn bind_address(&self) -> Result<BindAddress, String> {
        if matches!(self.scheme, Scheme::Unix | Scheme::Unixs) {
            return Ok(BindAddress::Unix(PathBuf::from(&self.address)));
        }
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip = match host {
            "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.parse(),
        };
        match (ip, port.parse()) {
            (Ok(ip), Ok(port)) => Ok(BindAddress::Tcp(SocketAddr::new(ip, port))),
            _ => Err(format!("{self} must have an IP address or localhost as its host")),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_displayed() {
        for text in [
            "http://127.0.0.1:2379",
            "https://[::1]:0",
            "http://etcd-0.etcd:2380",
            "unix:///run/q.sock",
            "unixs://localhost:1",
        ] {
            assert_eq!(Url::parse(text).map(|url| url.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "127.0.0.1:2379",
            "ftp://a:1",
            "http://a",
            "http://a:b",
            "http://a:65536",
            "http://a:1/",
            "http://u@a:1",
            "http://::1:2379",
            "http://a b:1",
            "unix://",
        ] {
            let problem = Url::parse(text).unwrap_err();
            assert!(problem.contains(&format!("{text:?}")), "{problem}");
        }
        assert_eq!(Url::parse_list("http://b:1, x,http://a:1,y").unwrap_err().len(), 2);
        let list = Url::parse_list("http://b:1,http://a:1").unwrap();
        assert_eq!(list[0].to_string(), "http://a:1");
    }

    #[test]
    fn the_host_is_the_name_for_certificates() {
        let host = |text| Url::parse(text).unwrap().host().to_owned();
        assert_eq!(host("https://a.example:1"), "a.example");
        assert_eq!(host("https://[::1]:1"), "::1");
        assert_eq!(host("unixs:///run/localhost:1"), "localhost");
    }

    #[test]
    fn only_addresses_can_be_bound() {
        let bind = |text| Url::parse(text).unwrap().bind_address().map(|a| a.to_string());
        assert_eq!(bind("http://localhost:1"), Ok("127.0.0.1:1".to_owned()));
        assert_eq!(bind("http://[::]:7"), Ok("[::]:7".to_owned()));
        assert_eq!(bind("unix:///a"), Ok("/a".to_owned()));
        assert!(bind("http://example.com:1").unwrap_err().contains("http://example.com:1"));
    }
}
