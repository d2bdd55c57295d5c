//! The operator's arguments.

use std::net::SocketAddr;

use clap::{Arg, ArgAction, Command};
use tracing::Level;

/// The domain of names in a Kubernetes cluster if the resolver of the pod names none.
const DOMAIN: &str = "cluster.local";
/// Where a pod's resolver is configured.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The operator's arguments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Args {
    /// The namespaces of clusters; empty for all.
    pub namespaces: Vec<String>,
    /// The image of the store, without a tag.
    pub image: String,
    /// The domain of names in the Kubernetes cluster.
    pub domain: String,
    /// Where pages are served.
    pub listen: SocketAddr,
    /// The name of the Lease.
    pub lease: String,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// The name of the operator's pod.
    pub pod: String,
    /// Which messages are logged.
    pub log_level: Level,
}

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("quorate-operator")
        .about("Runs clusters of Quorate in Kubernetes")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            option("namespaces", "NAMES", "Namespaces of clusters, with commas [default: all]")
                .value_delimiter(',')
                .action(ArgAction::Append),
        )
        .arg(
            option("image", "IMAGE", "Image of the store without a tag: the version is the tag")
                .default_value("quorate"),
        )
        .arg(option(
            "cluster-domain",
            "DOMAIN",
            "Domain of names in the Kubernetes cluster [default: as in /etc/resolv.conf]",
        ))
        .arg(
            option("listen", "ADDRESS", "Where /metrics, /livez and /readyz are served")
                .default_value(":8080")
                .value_parser(address),
        )
        .arg(
            option("lease", "NAME", "Name of the Lease, whose holder acts")
                .default_value("quorate-operator"),
        )
        .arg(option("lease-namespace", "NAME", "Namespace of the Lease [default: $POD_NAMESPACE]"))
        .arg(
            option("log-level", "LEVEL", "error, warn, info or debug")
                .default_value("info")
                .value_parser(|level: &str| level.parse::<Level>()),
        )
}

impl Args {
    /// The arguments of this process. It ends when they are wrong.
    #[must_use]
    pub fn of_process() -> Self {
        let resolver = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        Self::of(&command().get_matches(), &resolver, variable)
    }

    fn of(
        matches: &clap::ArgMatches,
        resolver: &str,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Self {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let namespaces = matches.get_many::<String>("namespaces").into_iter().flatten();
        let given = "it has a default";
        Self {
            namespaces: namespaces.filter(|name| !name.is_empty()).cloned().collect(),
            image: text("image").expect(given),
            domain: text("cluster-domain").unwrap_or_else(|| domain(resolver)),
            listen: *matches.get_one("listen").expect(given),
            lease: text("lease").expect(given),
            lease_namespace: text("lease-namespace")
                .or_else(|| variable("POD_NAMESPACE"))
                .unwrap_or_else(|| "default".to_owned()),
            pod: variable("POD_NAME").unwrap_or_else(|| "quorate-operator".to_owned()),
            log_level: *matches.get_one("log-level").expect(given),
        }
    }
}

/// An address to listen at. Without a host it is that of all interfaces.
fn address(text: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    if text.starts_with(':') { format!("0.0.0.0{text}").parse() } else { text.parse() }
}

/// The domain of names in the Kubernetes cluster: the resolver of each pod looks for names in
/// `svc.DOMAIN`.
fn domain(resolver: &str) -> String {
    let search = resolver.lines().filter_map(|line| line.trim().strip_prefix("search "));
    let mut domains = search.flat_map(str::split_whitespace);
    let domain = domains.find_map(|domain| domain.strip_prefix("svc."));
    domain.map_or(DOMAIN, |domain| domain.trim_end_matches('.')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(arguments: &[&str], resolver: &str) -> Args {
        let arguments = ["quorate-operator"].iter().chain(arguments);
        let matches = command().try_get_matches_from(arguments).unwrap();
        Args::of(&matches, resolver, |name| Some(format!("of {name}")))
    }

    #[test]
    fn all_arguments_have_defaults() {
        let args = args(&[], "nameserver 10.0.0.1\nsearch ns.svc.corp.local svc.corp.local\n");
        assert!(args.namespaces.is_empty());
        assert_eq!(args.domain, "corp.local");
        assert_eq!(args.listen, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(args.lease_namespace, "of POD_NAMESPACE");
        assert_eq!(args.log_level, Level::INFO);
    }

    #[test]
    fn arguments_are_followed() {
        let args = args(&["--namespaces=a,b", "--listen=127.0.0.1:1", "--log-level=debug"], "");
        assert_eq!(args.namespaces, ["a", "b"]);
        assert_eq!(args.listen, "127.0.0.1:1".parse().unwrap());
        assert_eq!(args.domain, DOMAIN);
        assert_eq!(args.log_level, Level::DEBUG);
    }

    #[test]
    fn the_command_is_complete() {
        command().debug_assert();
        assert!(command().try_get_matches_from(["o", "--listen=nowhere"]).is_err());
    }
}
