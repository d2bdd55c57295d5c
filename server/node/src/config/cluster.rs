//! Reads the flags for founding and joining a cluster.

use super::discovery::{self, Discovery};
use super::reader::Reader;
use super::tls::TlsRules;
use super::url::Url;

/// The flags that name the founders of a cluster. At most one of them may be set.
const SOURCES: [&str; 3] = ["initial-cluster", "discovery-srv", "discovery-endpoints"];

/// How this member founds or joins its cluster. Except for `is_forced`, only the first start uses
/// this.
#[derive(Clone, Debug)]
pub(crate) struct InitialCluster {
    /// Name of this member.
    pub(crate) name: String,
    /// This member's advertised peer URLs.
    pub(crate) peer_urls: Vec<Url>,
    /// The source of the list of members.
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
    /// A discovery service, with which the members register themselves.
    Discovery(Box<Discovery>),
}

pub(super) fn read(reader: &mut Reader<'_>, name: &str, rules: &TlsRules) -> InitialCluster {
    let peer_urls = reader.urls("initial-advertise-peer-urls", false);
    let is_existing = reader.choice("initial-cluster-state", &[("new", false), ("existing", true)]);
    let given: Vec<&'static str> =
        SOURCES.into_iter().filter(|flag| !reader.settings.get(flag).is_empty()).collect();
    if let [_, other, ..] = given[..] {
        let all = SOURCES.map(|flag| format!("--{flag}")).join(", ");
        reader.problem(other, format!("only one of {all} can name the founders of the cluster"));
    }
    // All sources are read, so that all their problems are reported at once.
    let service = discovery::read(reader, rules);
    let srv = read_srv(reader);
    let listed = read_listed(reader);
    let source = match (service, srv) {
        (Some(service), _) => Source::Discovery(Box::new(service)),
        (None, Some(srv)) => srv,
        (None, None) if given.is_empty() => {
            Source::Listed(peer_urls.iter().map(|url| (name.to_owned(), url.clone())).collect())
        }
        (None, None) => Source::Listed(listed),
    };
    let token = match &source {
        Source::Discovery(service) => service.token.clone(),
        _ => reader.text("initial-cluster-token"),
    };
    let is_forced = reader.switch("force-new-cluster");
    InitialCluster { name: name.to_owned(), peer_urls, source, token, is_existing, is_forced }
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
