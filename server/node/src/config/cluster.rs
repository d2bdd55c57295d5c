//! Reads the flags for founding and joining a cluster.

use std::fmt;
use std::time::Duration;

use super::reader::Reader;
use super::security::{self, ClientTls, TlsVersions};
use super::url::Url;

/// The flags that name the founders of a cluster. At most one of them may be set.
const SOURCES: [&str; 3] = ["initial-cluster", "discovery-srv", "discovery-endpoints"];

/// How this member founds or joins its cluster. Used only at the first start, except for
/// `is_forced`.
#[derive(Clone, Debug)]
pub(crate) struct Founding {
    /// Name of this member.
    pub(crate) name: String,
    /// This member's advertised peer URLs.
    pub(crate) peer_urls: Vec<Url>,
    /// Where the list of members comes from.
    pub(crate) source: Source,
    /// Distinguishes clusters whose members have the same URLs.
    pub(crate) token: String,
    /// Whether this member joins a cluster that exists already.
    pub(crate) is_existing: bool,
    /// Whether this member becomes the only member of its cluster and keeps its data.
    pub(crate) is_forced: bool,
}

/// The source of the list of members.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The flags: names and URLs of all members. A name may appear with several URLs.
    Listed(Vec<(String, Url)>),
    /// The SRV records of a domain.
    Srv {
        domain: String,
        /// Suffix of the service names; may be empty.
        suffix: String,
    },
    /// A discovery service, at which the members register themselves.
    Registry(Box<Registry>),
}

/// A discovery service: an etcd or Quorate cluster where the founders of another cluster register.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Registry {
    pub(crate) token: String,
    pub(crate) endpoints: Vec<Url>,
    pub(crate) dial_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) tls: ClientTls,
    /// Name and password.
    pub(crate) user: Option<(String, String)>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password must not be shown.
        let mut shown = f.debug_struct("Registry");
        shown.field("token", &self.token).field("endpoints", &self.endpoints);
        shown.finish_non_exhaustive()
    }
}

pub(super) fn read(reader: &mut Reader<'_>, name: &str, versions: TlsVersions) -> Founding {
    let peer_urls = reader.urls("initial-advertise-peer-urls", false);
    let is_existing = reader.choice("initial-cluster-state", &[("new", false), ("existing", true)]);
    let given: Vec<&'static str> =
        SOURCES.into_iter().filter(|flag| !reader.settings.get(flag).is_empty()).collect();
    if let [_, other, ..] = given[..] {
        let all = SOURCES.map(|flag| format!("--{flag}")).join(", ");
        reader.problem(other, format!("only one of {all} can name the founders of the cluster"));
    }
    // All sources are read, so that all their problems are reported at once.
    let registry = read_registry(reader, versions);
    let srv = read_srv(reader);
    let listed = read_listed(reader);
    let source = match (registry, srv) {
        (Some(registry), _) => Source::Registry(Box::new(registry)),
        (None, Some(srv)) => srv,
        (None, None) if given.is_empty() => {
            Source::Listed(peer_urls.iter().map(|url| (name.to_owned(), url.clone())).collect())
        }
        (None, None) => Source::Listed(listed),
    };
    let token = match &source {
        Source::Registry(registry) => registry.token.clone(),
        _ => reader.text("initial-cluster-token"),
    };
    let is_forced = reader.switch("force-new-cluster");
    Founding { name: name.to_owned(), peer_urls, source, token, is_existing, is_forced }
}

fn read_listed(reader: &mut Reader<'_>) -> Vec<(String, Url)> {
    parse_members(reader.settings.get("initial-cluster")).unwrap_or_else(|problems| {
        problems.into_iter().for_each(|problem| reader.problem("initial-cluster", problem));
        Vec::new()
    })
}

/// Parses `NAME=URL,NAME=URL`; skips empty parts.
///
/// # Errors
/// One problem for each invalid part.
pub(crate) fn parse_members(text: &str) -> Result<Vec<(String, Url)>, Vec<String>> {
    let mut members = Vec::new();
    let mut problems = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let member = part.split_once('=').map(|(name, url)| (name.trim(), Url::parse(url.trim())));
        match member {
            Some((name, Ok(url))) if !name.is_empty() => members.push((name.to_owned(), url)),
            Some((_, Err(problem))) => problems.push(problem),
            _ => problems.push(format!("{part:?} is not NAME=URL")),
        }
    }
    if problems.is_empty() { Ok(members) } else { Err(problems) }
}

fn read_srv(reader: &mut Reader<'_>) -> Option<Source> {
    let domain = reader.text("discovery-srv");
    let suffix = reader.text("discovery-srv-name");
    if domain.is_empty() {
        if !suffix.is_empty() {
            reader.problem("discovery-srv-name", "requires --discovery-srv");
        }
        return None;
    }
    Some(Source::Srv { domain, suffix })
}

fn read_registry(reader: &mut Reader<'_>, versions: TlsVersions) -> Option<Registry> {
    reader.choice("discovery-fallback", &[("exit", ())]);
    let dial_timeout = reader.duration("discovery-dial-timeout");
    let request_timeout = reader.duration("discovery-request-timeout");
    let ping_interval = reader.duration("discovery-keepalive-time");
    let ping_timeout = reader.duration("discovery-keepalive-timeout");
    let is_plain = reader.switch("discovery-insecure-transport");
    let verifies = !reader.switch("discovery-insecure-skip-tls-verify");
    let flags = &security::DISCOVERY;
    let shown = security::read_pair(reader, flags);
    let authorities = reader.path("discovery-cacert");
    let user = read_user(reader);
    let token = reader.text("discovery-token");
    let scheme = if is_plain && verifies && shown.is_none() && authorities.is_none() {
        "http"
    } else {
        "https"
    };
    let endpoints = read_endpoints(reader, scheme);
    match (token.is_empty(), endpoints.is_empty()) {
        (true, true) => return None,
        (true, false) => {
            reader.problem("discovery-token", "required when --discovery-endpoints is set");
        }
        (false, true) => {
            reader.problem("discovery-endpoints", "required when --discovery-token is set");
        }
        (false, false) => {}
    }
    let tls = ClientTls {
        shown,
        authorities,
        allowed: None,
        server_name: None,
        verifies,
        versions,
        flags,
    };
    Some(Registry {
        token,
        endpoints,
        dial_timeout,
        request_timeout,
        ping_interval,
        ping_timeout,
        tls,
        user,
    })
}

/// Reads the endpoints. `scheme` is for those without one.
fn read_endpoints(reader: &mut Reader<'_>, scheme: &str) -> Vec<Url> {
    let text = reader.text("discovery-endpoints");
    if text.is_empty() {
        return Vec::new();
    }
    let mut endpoints = Vec::new();
    for part in text.split(',').map(str::trim) {
        let url = if part.contains("://") {
            Url::parse(part)
        } else {
            Url::parse(&format!("{scheme}://{part}"))
        };
        match url {
            Ok(url) => endpoints.push(url),
            Err(problem) => reader.problem("discovery-endpoints", problem),
        }
    }
    endpoints
}

fn read_user(reader: &mut Reader<'_>) -> Option<(String, String)> {
    let user = reader.text("discovery-user");
    let password = reader.text("discovery-password");
    match (user.is_empty(), password.is_empty()) {
        (true, true) => None,
        (true, false) => {
            reader.problem("discovery-user", "required when --discovery-password is set");
            None
        }
        (false, false) => Some((user, password)),
        (false, true) => match user.split_once(':') {
            Some((user, password)) => Some((user.to_owned(), password.to_owned())),
            None => {
                let text = "must be USER:PASSWORD, or --discovery-password must be set";
                reader.problem("discovery-user", text);
                None
            }
        },
    }
}
