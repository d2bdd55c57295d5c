//! What this member is to do, read from the flags and checked: durations, sizes and addresses, no
//! text that could still be wrong. All problems are found before anything happens.

mod duration;
pub(crate) mod url;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use quorate_raft::{AutoCompaction, FlushOptions, IntegrityChecks, MembershipRules};
use tracing::Level;

use crate::bootstrap::Founding;
use crate::flags::Settings;
use url::Url;

/// The longest election timeout, as in etcd.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(50);
/// Heartbeats that fit into an election timeout at least, as in etcd.
const HEARTBEATS_PER_ELECTION_MIN: u32 = 5;
/// Time that a request gets besides two elections, as in etcd.
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);

/// A problem with a flag: which, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    flag: &'static str,
    text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}: {}", self.flag, self.text)
    }
}

/// What to serve, and where.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) clients: Vec<Url>,
    /// Where pages are served to clients; empty when they are on the client ports.
    pub(crate) pages: Vec<Url>,
    pub(crate) metrics: Vec<Url>,
    pub(crate) peers: Vec<Url>,
    pub(crate) reuse_port: bool,
    pub(crate) max_concurrent_streams: u32,
    /// Silence after which a client is pinged; `None` for never.
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TlsVersion {
    V12,
    V13,
}

/// TLS of the client port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Whose certificates clients must show; `None` when they need not show any.
    pub(crate) client_authorities: Option<PathBuf>,
    pub(crate) oldest: TlsVersion,
    pub(crate) newest: TlsVersion,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// How to log.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    pub(crate) level: Level,
    pub(crate) is_json: bool,
    pub(crate) outputs: Vec<LogOutput>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) ports: Ports,
    pub(crate) advertised_client_urls: Vec<Url>,
    pub(crate) founding: Founding,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) logging: Logging,
    pub(crate) raft: quorate_raft::Options,
    pub(crate) api: quorate_api::Options,
    /// What to tell the user, although it stops nothing.
    pub(crate) warnings: Vec<String>,
}

/// Reads settings and collects what is wrong with them.
struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, flag: &'static str, text: impl Into<String>) {
        self.problems.push(Problem { flag, text: text.into() });
    }

    fn text(&self, flag: &str) -> String {
        self.settings.get(flag).to_owned()
    }

    fn path(&self, flag: &str) -> Option<PathBuf> {
        let text = self.settings.get(flag);
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    fn number<N: FromStr + Default>(&mut self, flag: &'static str, wanted: &str) -> N {
        let text = self.text(flag);
        text.parse().unwrap_or_else(|_| {
            self.problem(flag, format!("{text:?} is not {wanted}"));
            N::default()
        })
    }

    /// A number that must not be zero.
    fn count<N: FromStr + Default + PartialEq>(&mut self, flag: &'static str) -> N {
        let wanted = "a positive whole number";
        let number = self.number(flag, wanted);
        if number == N::default() && self.problems.iter().all(|problem| problem.flag != flag) {
            self.problem(flag, format!("it must be {wanted}"));
        }
        number
    }

    fn switch(&mut self, flag: &'static str) -> bool {
        match self.settings.get(flag) {
            "true" | "1" | "t" | "T" | "TRUE" | "True" => true,
            "false" | "0" | "f" | "F" | "FALSE" | "False" => false,
            text => {
                let text = format!("{text:?} is neither true nor false");
                self.problem(flag, text);
                false
            }
        }
    }

    fn duration(&mut self, flag: &'static str) -> Duration {
        let text = self.text(flag);
        duration::parse(&text).unwrap_or_else(|| {
            self.problem(flag, format!("{text:?} is not a time such as 500ms, 10s or 1h30m"));
            Duration::ZERO
        })
    }

    fn millis(&mut self, flag: &'static str) -> Duration {
        Duration::from_millis(u64::from(self.count::<u32>(flag)))
    }

    fn choice<T: Copy>(&mut self, flag: &'static str, choices: &[(&str, T)]) -> T {
        let text = self.settings.get(flag);
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return *chosen;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let text = format!("{text:?} is none of {}", names.join(", "));
        self.problem(flag, text);
        choices[0].1
    }

    /// URLs; an empty list only for a flag whose default is that.
    fn urls(&mut self, flag: &'static str, may_be_empty: bool) -> Vec<Url> {
        let text = self.text(flag);
        if text.is_empty() && may_be_empty {
            return Vec::new();
        }
        Url::parse_list(&text).unwrap_or_else(|problems| {
            problems.into_iter().for_each(|problem| self.problem(flag, problem));
            Vec::new()
        })
    }

    /// URLs at which to listen.
    fn bindable(&mut self, flag: &'static str, may_be_empty: bool) -> Vec<Url> {
        let urls = self.urls(flag, may_be_empty);
        for url in &urls {
            if let Err(problem) = url.bind_address() {
                self.problem(flag, problem);
            }
        }
        urls
    }
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader { settings, problems: Vec::new() };
        let name = reader.text("name");
        let ports = read_ports(&mut reader);
        let raft = read_raft(&mut reader);
        let config = Self {
            data_dir: reader.path("data-dir").unwrap_or_else(|| format!("{name}.etcd").into()),
            advertised_client_urls: read_advertised(&mut reader),
            founding: read_founding(&mut reader, &name),
            tls: read_tls(&mut reader, &ports),
            logging: read_logging(&mut reader),
            api: read_api(&mut reader, raft.election_timeout),
            raft,
            warnings: settings.warnings.clone(),
            name,
            ports,
        };
        match reader.problems.is_empty() {
            true => Ok(config.warned()),
            false => Err(reader.problems),
        }
    }

    /// Adds warnings for what is allowed and seldom meant.
    fn warned(mut self) -> Self {
        let urls = self.ports.clients.iter().chain(&self.ports.pages);
        let plain: Vec<String> =
            urls.filter(|url| !url.scheme.is_secure()).map(ToString::to_string).collect();
        if self.tls.is_some() && !plain.is_empty() {
            self.warnings.push(format!(
                "certificates are given, but {} serves whoever comes, without TLS",
                plain.join(", ")
            ));
        }
        self
    }
}

fn read_ports(reader: &mut Reader<'_>) -> Ports {
    let interval = reader.duration("grpc-keepalive-interval");
    reader.duration("grpc-keepalive-min-time");
    // This changes nothing and is checked all the same: addresses are always reused.
    reader.switch("socket-reuse-address");
    Ports {
        clients: reader.bindable("listen-client-urls", false),
        pages: reader.bindable("listen-client-http-urls", true),
        metrics: reader.bindable("listen-metrics-urls", true),
        peers: reader.bindable("listen-peer-urls", false),
        reuse_port: reader.switch("socket-reuse-port"),
        max_concurrent_streams: reader.count("max-concurrent-streams"),
        ping_interval: (!interval.is_zero()).then_some(interval),
        ping_timeout: reader.duration("grpc-keepalive-timeout"),
    }
}

fn read_advertised(reader: &mut Reader<'_>) -> Vec<Url> {
    let flag = "advertise-client-urls";
    if reader.settings.is_given("listen-client-urls") && !reader.settings.is_given(flag) {
        reader.problem(flag, "it is required when --listen-client-urls is set");
    }
    reader.urls(flag, false)
}

fn read_founding(reader: &mut Reader<'_>, name: &str) -> Founding {
    let peer_urls = reader.urls("initial-advertise-peer-urls", false);
    let is_existing = reader.choice("initial-cluster-state", &[("new", false), ("existing", true)]);
    let mut founders = Vec::new();
    let cluster = reader.text("initial-cluster");
    for part in cluster.split(',').filter(|part| !part.is_empty()) {
        let founder = part.split_once('=').map(|(name, url)| (name.trim(), Url::parse(url.trim())));
        match founder {
            Some((name, Ok(url))) if !name.is_empty() => founders.push((name.to_owned(), url)),
            Some((_, Err(problem))) => reader.problem("initial-cluster", problem),
            _ => reader.problem("initial-cluster", format!("{part:?} is not NAME=URL")),
        }
    }
    if cluster.is_empty() {
        founders = peer_urls.iter().map(|url| (name.to_owned(), url.clone())).collect();
    }
    let token = reader.text("initial-cluster-token");
    Founding { name: name.to_owned(), peer_urls, founders, token, is_existing }
}

fn read_tls(reader: &mut Reader<'_>, ports: &Ports) -> Option<TlsFiles> {
    let wants_clients = reader.switch("client-cert-auth");
    let versions = [("TLS1.2", TlsVersion::V12), ("TLS1.3", TlsVersion::V13)];
    let oldest = reader.choice("tls-min-version", &versions);
    let newest = match reader.settings.get("tls-max-version") {
        "" => TlsVersion::V13,
        _ => reader.choice("tls-max-version", &versions),
    };
    if oldest > newest {
        reader.problem("tls-max-version", "it is older than --tls-min-version");
    }
    let client_authorities = reader.path("trusted-ca-file");
    if wants_clients && client_authorities.is_none() {
        reader.problem("client-cert-auth", "it needs --trusted-ca-file");
    }
    let files = match (reader.path("cert-file"), reader.path("key-file")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            reader.problem("key-file", "it is required when --cert-file is set");
            return None;
        }
        (None, Some(_)) => {
            reader.problem("cert-file", "it is required when --key-file is set");
            return None;
        }
        (None, None) => None,
    };
    let mut urls = ports.clients.iter().chain(&ports.pages).chain(&ports.metrics);
    let secure = urls.find(|url| url.scheme.is_secure());
    if let (Some(url), None) = (secure, &files) {
        reader.problem("cert-file", format!("it is required, with --key-file, to serve {url}"));
    }
    if client_authorities.is_some() && secure.is_none() {
        reader.problem("trusted-ca-file", "no port uses TLS, so no client could be asked");
    }
    let (certificate, key) = files?;
    Some(TlsFiles { certificate, key, client_authorities, oldest, newest })
}

fn read_logging(reader: &mut Reader<'_>) -> Logging {
    reader.choice("logger", &[("zap", ())]);
    let levels = [
        ("debug", Level::DEBUG),
        ("info", Level::INFO),
        ("warn", Level::WARN),
        ("error", Level::ERROR),
        ("panic", Level::ERROR),
        ("fatal", Level::ERROR),
    ];
    let outputs = reader.text("log-outputs");
    let outputs = outputs.split(',').map(|output| match output.trim() {
        // Under systemd, what goes to the error output is in the journal.
        "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
        "stdout" => LogOutput::Stdout,
        path => LogOutput::File(path.into()),
    });
    let outputs: Vec<LogOutput> = outputs.collect();
    if outputs.contains(&LogOutput::File(PathBuf::new())) {
        reader.problem("log-outputs", "an output is empty; name default, stderr, stdout or files");
    }
    Logging {
        level: reader.choice("log-level", &levels),
        is_json: reader.choice("log-format", &[("json", true), ("console", false)]),
        outputs,
    }
}

fn read_raft(reader: &mut Reader<'_>) -> quorate_raft::Options {
    let heartbeat = reader.millis("heartbeat-interval");
    let election_timeout = reader.millis("election-timeout");
    if election_timeout < heartbeat * HEARTBEATS_PER_ELECTION_MIN {
        let text = format!(
            "{} ms must be at least {HEARTBEATS_PER_ELECTION_MIN} x --heartbeat-interval, {} ms",
            election_timeout.as_millis(),
            heartbeat.as_millis()
        );
        reader.problem("election-timeout", text);
    }
    if election_timeout > ELECTION_TIMEOUT_MAX {
        let text = format!("it must be at most {} ms", ELECTION_TIMEOUT_MAX.as_millis());
        reader.problem("election-timeout", text);
    }
    quorate_raft::Options {
        heartbeat,
        election_timeout,
        request_timeout: REQUEST_TIMEOUT_BASE + 2 * election_timeout,
        quota_bytes: reader.number("quota-backend-bytes", "a number of bytes"),
        membership: MembershipRules {
            is_strict: reader.switch("strict-reconfig-check"),
            learners_max: reader.count("max-learners"),
        },
        integrity: IntegrityChecks::default(),
        version: quorate_api::ETCD_VERSION.to_owned(),
        auto_compaction: read_auto_compaction(reader),
        flush: FlushOptions::default(),
        wal: quorate_storage::wal::Options::default(),
        database: quorate_storage::base::engine::Options::default(),
    }
}

/// A bare number counts hours or revisions, as the mode says; anything else is a time.
fn read_auto_compaction(reader: &mut Reader<'_>) -> Option<AutoCompaction> {
    let by_revision =
        reader.choice("auto-compaction-mode", &[("periodic", false), ("revision", true)]);
    let flag = "auto-compaction-retention";
    let text = reader.text(flag);
    match (text.parse::<u32>(), by_revision) {
        (Ok(0), _) => None,
        (Ok(kept), true) => Some(AutoCompaction::Revisions(i64::from(kept))),
        (Ok(hours), false) => {
            Some(AutoCompaction::Periodic(Duration::from_secs(3600 * u64::from(hours))))
        }
        (Err(_), true) => {
            reader.problem(flag, format!("{text:?} is not a number of revisions"));
            None
        }
        (Err(_), false) => {
            let period = reader.duration(flag);
            (!period.is_zero()).then_some(AutoCompaction::Periodic(period))
        }
    }
}

fn read_api(reader: &mut Reader<'_>, election_timeout: Duration) -> quorate_api::Options {
    let interval = reader.duration("watch-progress-notify-interval");
    if interval.is_zero() {
        reader.problem("watch-progress-notify-interval", "it must be longer than 0");
    }
    quorate_api::Options {
        max_request_bytes: reader.count("max-request-bytes"),
        max_txn_ops: reader.count("max-txn-ops"),
        // No lease may end before a new leader can be expected to renew it: one and a half election
        // timeouts, in whole seconds, as in etcd.
        min_lease_ttl: i64::try_from((election_timeout.as_millis() * 3).div_ceil(2000))
            .expect("the timeout was read as 32 bits of milliseconds"),
        watch_progress_interval: interval,
    }
}

#[cfg(test)]
mod tests;
