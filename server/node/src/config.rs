//! The configuration of this member: the values of the flags, parsed and checked. All problems are
//! found before the start touches anything.

mod cluster;
mod discovery;
mod duration;
mod integrity;
mod logging;
mod memory;
mod number;
mod ports;
mod reader;
mod replaced;
mod security;
mod self_signed;
mod suites;
mod tls;
mod tracing;
pub(crate) mod url;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use quorate_raft::{AutoCompaction, FlushOptions, MembershipRules, REQUEST_BYTES_MAX};

use crate::flags::Settings;
pub(crate) use cluster::{InitialCluster, Source, parse_members};
pub(crate) use discovery::Discovery;
pub(crate) use logging::{LogOutput, Logging, Rotation};
pub(crate) use ports::Ports;
pub(crate) use reader::Problem;
use reader::Reader;
pub(crate) use self_signed::SelfSigned;
pub(crate) use tls::{
    Allowed, ClientTls, PeerTls, RevokedFile, ServerTls, TlsFlags, TlsRules, TlsVersion,
};
pub(crate) use tracing::Tracing;
use url::Url;

/// The longest election timeout, as in etcd.
const ELECTION_TIMEOUT_MAX: Duration = Duration::from_secs(50);
/// Fewest heartbeats per election timeout, as in etcd.
const HEARTBEATS_PER_ELECTION_MIN: u32 = 5;
/// The time limit of a request is this plus two election timeouts, as in etcd.
const REQUEST_TIMEOUT_BASE: Duration = Duration::from_secs(5);
/// Interval of progress notifications if it is set to 0.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
/// Shortest interval of progress notifications.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The whole configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    /// The directory of the log; `None` if it is in the data directory.
    pub(crate) wal_dir: Option<PathBuf>,
    pub(crate) ports: Ports,
    pub(crate) advertised_client_urls: Vec<Url>,
    pub(crate) initial_cluster: InitialCluster,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) peer_tls: PeerTls,
    /// Certificates that the program makes itself.
    pub(crate) self_signed: Vec<SelfSigned>,
    pub(crate) logging: Logging,
    pub(crate) raft: quorate_raft::Options,
    pub(crate) api: quorate_api::Options,
    /// `None` if calls are not traced.
    pub(crate) tracing: Option<Tracing>,
    /// Whether writes are synced to the disk before they are acknowledged.
    pub(crate) is_durable: bool,
    /// Warnings to log. They do not prevent the start.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Parses and checks all settings.
    ///
    /// # Errors
    /// All problems with the settings.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(settings);
        let name = reader.text("name");
        let ports = ports::read(&mut reader);
        let advertised_client_urls = read_advertised(&mut reader);
        let rules = tls::read_rules(&mut reader);
        let initial_cluster = cluster::read(&mut reader, &name, &rules);
        let mut raft = read_raft(&mut reader);
        let api = read_api(&mut reader, raft.election_timeout);
        raft.memory_budget = memory::read(&mut reader, api.max_request_bytes);
        let is_durable = read_durability(&mut reader);
        replaced::read(&mut reader);
        let data_dir = reader.path("data-dir").unwrap_or_else(|| format!("{name}.etcd").into());
        let self_signed = self_signed::read(&mut reader, &ports, &data_dir);
        let made = self_signed.peers.as_ref();
        let peer_tls = security::read_peers(&mut reader, &ports, &initial_cluster, &rules, made);
        let made = self_signed.clients.as_ref();
        let config = Self {
            wal_dir: read_wal_dir(&mut reader),
            data_dir,
            advertised_client_urls,
            tls: security::read_clients(&mut reader, &ports, &rules, made),
            peer_tls,
            self_signed: [self_signed.clients, self_signed.peers].into_iter().flatten().collect(),
            initial_cluster,
            logging: logging::read(&mut reader),
            api,
            raft,
            tracing: tracing::read(&mut reader),
            is_durable,
            warnings: reader.warnings,
            name,
            ports,
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
    }
}

fn read_advertised(reader: &mut Reader<'_>) -> Vec<Url> {
    let flag = "advertise-client-urls";
    let settings = reader.settings;
    let listens = settings.is_given("listen-client-urls") && !settings.are_from_file;
    if listens && !settings.is_given(flag) {
        reader.problem(flag, "required when --listen-client-urls is set");
    }
    reader.urls(flag, false)
}

fn read_wal_dir(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let flag = "wal-dir";
    if reader.text(flag).contains('\n') {
        reader.problem(flag, "must be one line");
    }
    reader.path(flag)
}

fn read_durability(reader: &mut Reader<'_>) -> bool {
    let skips_sync = reader.switch("unsafe-no-fsync");
    if skips_sync {
        reader.warn(
            "--unsafe-no-fsync: if the machine crashes, this member loses acknowledged writes, and \
             the cluster can lose them, too",
        );
    }
    !skips_sync
}

fn read_raft(reader: &mut Reader<'_>) -> quorate_raft::Options {
    let heartbeat = reader.millis("heartbeat-interval");
    let election_timeout = reader.millis("election-timeout");
    if election_timeout < heartbeat * HEARTBEATS_PER_ELECTION_MIN {
        let text = format!(
            "{} ms must be at least {HEARTBEATS_PER_ELECTION_MIN} x --heartbeat-interval ({} ms)",
            election_timeout.as_millis(),
            heartbeat.as_millis()
        );
        reader.problem("election-timeout", text);
    }
    if election_timeout > ELECTION_TIMEOUT_MAX {
        let text = format!("must be at most {} ms", ELECTION_TIMEOUT_MAX.as_millis());
        reader.problem("election-timeout", text);
    }
    if !reader.switch("pre-vote") {
        let text = "--pre-vote=false is ignored: without pre-vote, a member that rejoins after a \
                    partition would depose a working leader";
        reader.warn(text);
    }
    if !reader.switch("initial-election-tick-advance") {
        let text = "--initial-election-tick-advance=false has no effect: a member without a leader \
                    waits no longer than an election timeout anyway";
        reader.warn(text);
    }
    reader.number::<u64>("snapshot-count", "a number of changes");
    if reader.settings.is_given("snapshot-count") {
        let text = "--snapshot-count has no effect: the size of the data in memory decides when \
                    they are written to the database";
        reader.warn(text);
    }
    quorate_raft::Options {
        heartbeat,
        election_timeout,
        request_timeout: REQUEST_TIMEOUT_BASE + 2 * election_timeout,
        memory_budget: 0,
        quota_bytes: reader.number("quota-backend-bytes", "a number of bytes"),
        membership: MembershipRules {
            is_strict: reader.switch("strict-reconfig-check"),
            learners_max: reader.number("max-learners", "a number of members, 0 or more"),
        },
        integrity: integrity::read(reader),
        version: quorate_api::ETCD_VERSION.to_owned(),
        auto_compaction: read_auto_compaction(reader),
        log_keep_entries: reader.number("snapshot-catchup-entries", "a number of changes"),
        slow_apply: reader.duration("warning-apply-duration"),
        flush: FlushOptions::default(),
        wal: quorate_storage::wal::Options::default(),
        database: quorate_storage::db::engine::Options::default(),
    }
}

/// Reads the auto-compaction flags. A plain number means hours in periodic mode and revisions in
/// revision mode; any other text is a duration.
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
    let mut interval = reader.duration("watch-progress-notify-interval");
    // As in etcd, 0 means the default, and no interval is shorter than the minimum.
    if interval.is_zero() {
        interval = PROGRESS_INTERVAL;
    } else if interval < PROGRESS_INTERVAL_MIN {
        reader.warn("--watch-progress-notify-interval is less than 100 ms, and 100 ms are used");
        interval = PROGRESS_INTERVAL_MIN;
    }
    let max_request_bytes = reader.count("max-request-bytes");
    if max_request_bytes > REQUEST_BYTES_MAX {
        let text = format!(
            "{max_request_bytes} is more than a member can send to another; set it to at most \
             {REQUEST_BYTES_MAX}"
        );
        reader.problem("max-request-bytes", text);
    }
    quorate_api::Options {
        max_request_bytes,
        max_txn_ops: reader.number("max-txn-ops", "a number of operations, 0 or more"),
        bcrypt_cost: users::read_bcrypt_cost(reader),
        tokens: users::read_tokens(reader),
        trusts_common_names: reader.switch("client-cert-auth"),
        // As in etcd, one and a half election timeouts, rounded up to seconds: a lease must not
        // expire before a new leader can have been elected to renew it.
        min_lease_ttl: i64::try_from((election_timeout.as_millis() * 3).div_ceil(2000))
            .expect("the timeout was read as 32 bits of milliseconds"),
        watch_progress_interval: interval,
        slow_call: reader.duration("warning-unary-request-duration"),
        // As in etcd, any other text means "basic".
        has_call_durations: reader.settings.get("metrics") == "extensive",
        has_debug_page: reader.switch("enable-pprof"),
        given_settings: reader.settings.given(),
        has_status_page: reader.switch("status-page"),
        serves_gateway: reader.switch("enable-grpc-gateway"),
        web_rules: quorate_api::WebRules {
            origins: reader.list("cors"),
            hosts: Some(reader.list("host-whitelist")),
        },
        tracer: None,
    }
}

#[cfg(test)]
mod tests;
