//! One side of the comparison.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use quorate_test_support::certs::Pki;
use quorate_test_support::{http, wait};

use super::background::Background;
use super::normalize;
use super::parse::Variables;

/// How long the servers may take to register or to end a watch.
const WATCHED_WITHIN: Duration = Duration::from_secs(30);

/// A command's exit code and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// The certificates with which etcdctl reaches a server.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) pki: Pki,
    /// The name of the client's certificate.
    pub(super) shown: String,
}

/// A server or cluster, as etcdctl addresses it.
#[derive(Debug)]
pub(super) struct Side {
    etcdctl: PathBuf,
    /// Addresses of all members; etcdctl uses the first one.
    addresses: Vec<String>,
    /// The address of the metrics.
    pub(super) metrics: String,
    /// `None` for connections without TLS.
    pub(super) tls: Option<Tls>,
    /// Ids of the granted leases, in the order of the grants.
    leases: Vec<i64>,
    background: Option<Background>,
}

impl Side {
    pub(super) fn new(etcdctl: PathBuf, addresses: Vec<String>) -> Self {
        let metrics = addresses[0].clone();
        Self { etcdctl, addresses, metrics, tls: None, leases: Vec::new(), background: None }
    }

    /// Shows the client certificate of this name from here on.
    pub(super) fn show(&mut self, name: &str) {
        let tls = self.tls.as_mut().expect("certificates are for connections with TLS");
        name.clone_into(&mut tls.shown);
    }

    fn command(&self, words: &[String]) -> Command {
        let words = words.iter().map(|word| self.variables().fill(word));
        let mut command = Command::new(&self.etcdctl);
        let scheme = self.tls.as_ref().map_or("", |_| "https://");
        command.arg("--endpoints").arg(format!("{scheme}{}", self.addresses[0])).args(words);
        if let Some(Tls { pki, shown }) = &self.tls {
            command.env("ETCDCTL_CACERT", pki.path("ca.crt"));
            command.env("ETCDCTL_CERT", pki.path(&format!("{shown}.crt")));
            command.env("ETCDCTL_KEY", pki.path(&format!("{shown}.key")));
        }
        command
    }

    fn variables(&self) -> Variables<'_> {
        Variables { leases: &self.leases }
    }

    pub(super) fn run(&self, words: &[String], stdin: &str) -> Outcome {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl can be started");
        let mut input = child.stdin.take().expect("it is piped");
        // A command that reads nothing may have exited already.
        input.write_all(self.variables().fill(stdin).as_bytes()).ok();
        drop(input);
        let output = child.wait_with_output().expect("it is our child");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The outcome after all rules; remembers the lease id if a lease was granted.
    pub(super) fn normalized(&mut self, outcome: &Outcome) -> Outcome {
        self.leases.extend(normalize::granted_lease(&outcome.stdout));
        let normalized = |text: &str| normalize::normalize(text, &self.addresses, &self.leases);
        Outcome {
            code: outcome.code,
            stdout: normalized(&outcome.stdout),
            stderr: normalized(&outcome.stderr),
        }
    }

    /// Number of open watchers, from the server's metrics.
    fn watchers(&self) -> Option<f64> {
        http::metric(&self.metrics, "etcd_debugging_mvcc_watcher_total")
    }

    /// Starts a watch in the background, and waits until the server has it.
    pub(super) fn start(&mut self, words: &[String], stdin: &str) {
        assert!(self.background.is_none(), "stop the command in the background first");
        let stdin = self.variables().fill(stdin);
        self.background = Some(Background::start(self.command(words), &stdin));
        wait::until("the watch is registered", WATCHED_WITHIN, || {
            (self.watchers()? > 0.0).then_some(())
        });
    }

    pub(super) fn background(&mut self) -> &mut Background {
        self.background.as_mut().expect("a command was started")
    }

    /// Stops the watch in the background; returns the command and its output.
    pub(super) fn stop(&mut self) -> (String, Outcome) {
        let background = self.background.take().expect("a command was started");
        let outcome = background.stop();
        wait::until(&format!("{}: the watch has ended", self.metrics), WATCHED_WITHIN, || {
            (self.watchers()? == 0.0).then_some(())
        });
        outcome
    }
}
