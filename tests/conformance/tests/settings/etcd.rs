//! Every setting of etcd works, or the log names its substitute, or the setting prevents the start.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::{fs, thread};

use quorate_test_support::program;
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// How Quorate treats a setting.
#[derive(Clone, Copy)]
enum Is {
    /// Supported: accepts these values and refuses this one.
    Read(&'static [&'static str], &'static str),
    /// Supported: accepts any text.
    Text(&'static str),
    /// Ignored by etcd, too: accepts these values, and refuses this one.
    Idle(&'static [&'static str], &'static str),
    /// Not in etcd 3.7 either: accepts an empty text, and as a flag refuses this one.
    Gone(&'static str),
    /// Ignored by etcd, too, and not in its help.
    Ignored,
}

use Is::{Gone, Idle, Ignored, Read, Text};

const URLS: &[&str] = &["http://127.0.0.1:1"];
const SWITCH: Is = Read(&["true", "F", "1"], "yes");
const TIME: Is = Read(&["1h30m", "0.5s"], "5");
const COUNT: Is = Read(&["7", "0x10", "0b11", "1_0"], "-1");
const NUMBER: Is = Read(&["5", "0", "9"], "x");

const SUITES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_256_CBC_SHA",
];

const SETTINGS: &[(&str, Is)] = &[
    // Member
    ("name", Text("other")),
    ("data-dir", Text("other")),
    ("wal-dir", Text("other")),
    ("snapshot-count", COUNT),
    ("heartbeat-interval", Read(&["0x20"], "0")),
    ("election-timeout", Read(&["0x800"], "0")),
    ("initial-election-tick-advance", SWITCH),
    ("listen-peer-urls", Read(URLS, "x")),
    ("listen-client-urls", Read(URLS, "x")),
    ("listen-client-http-urls", Read(URLS, "x")),
    ("max-snapshots", NUMBER),
    ("max-wals", NUMBER),
    ("memory-mlock", SWITCH),
    ("quota-backend-bytes", Read(&["-1", "0x80000000"], "2GB")),
    ("backend-bbolt-freelist-type", Text("array")),
    ("backend-batch-interval", TIME),
    ("backend-batch-limit", NUMBER),
    ("max-txn-ops", COUNT),
    ("max-request-bytes", COUNT),
    ("max-concurrent-streams", COUNT),
    ("grpc-keepalive-min-time", TIME),
    ("grpc-keepalive-interval", TIME),
    ("grpc-keepalive-timeout", TIME),
    ("socket-reuse-port", SWITCH),
    ("socket-reuse-address", SWITCH),
    ("enable-grpc-gateway", SWITCH),
    ("raft-read-timeout", TIME),
    ("raft-write-timeout", TIME),
    ("feature-gates", Read(&["Unknown=true", "AllAlpha=true", "CompactHashCheck=T"], "AllAlpha")),
    // Clustering
    ("initial-advertise-peer-urls", Read(URLS, "x")),
    ("initial-cluster", Read(&["default=http://localhost:2380"], "x")),
    ("initial-cluster-state", Read(&["existing"], "old")),
    ("initial-cluster-token", Text("other")),
    ("advertise-client-urls", Read(URLS, "x")),
    ("discovery", Gone("x")),
    ("discovery-token", Read(&[], "x")),
    ("discovery-endpoints", Read(&[], "x")),
    ("discovery-dial-timeout", TIME),
    ("discovery-request-timeout", TIME),
    ("discovery-keepalive-time", TIME),
    ("discovery-keepalive-timeout", TIME),
    ("discovery-insecure-transport", SWITCH),
    ("discovery-insecure-skip-tls-verify", SWITCH),
    ("discovery-cert", Text("file")),
    ("discovery-key", Text("file")),
    ("discovery-cacert", Text("file")),
    ("discovery-user", Text("me:secret")),
    ("discovery-password", Read(&[], "secret")),
    ("discovery-fallback", Read(&["exit"], "proxy")),
    ("discovery-proxy", Gone("x")),
    ("discovery-srv", Text("example.com")),
    ("discovery-srv-name", Read(&[], "x")),
    ("strict-reconfig-check", SWITCH),
    ("pre-vote", SWITCH),
    ("auto-compaction-retention", Read(&["5", "5m"], "0x10")),
    ("auto-compaction-mode", Read(&["revision"], "always")),
    ("v2-deprecation", Idle(&["gone", "write-only-drop-data"], "not-yet")),
    // Security
    ("cert-file", Read(&[], "x")),
    ("key-file", Read(&[], "x")),
    ("client-cert-auth", Read(&["false"], "true")),
    ("client-cert-file", Text("file")),
    ("client-key-file", Text("file")),
    ("client-crl-file", Read(&[], "file")),
    ("client-cert-allowed-hostname", Read(&[], "x")),
    ("trusted-ca-file", Read(&[], "x")),
    ("auto-tls", SWITCH),
    ("peer-cert-file", Read(&[], "x")),
    ("peer-key-file", Read(&[], "x")),
    ("peer-client-cert-auth", Read(&["false"], "true")),
    ("peer-client-cert-file", Read(&[], "x")),
    ("peer-client-key-file", Read(&[], "x")),
    ("peer-trusted-ca-file", Text("file")),
    ("peer-cert-allowed-cn", Read(&[], "x")),
    ("peer-cert-allowed-hostname", Read(&[], "x")),
    ("peer-auto-tls", SWITCH),
    ("self-signed-cert-validity", Read(&["1", "2"], "0")),
    ("peer-crl-file", Read(&[], "file")),
    ("cipher-suites", Read(SUITES, "TLS_RSA_WITH_AES_128_CBC_SHA")),
    ("cors", Text("http://example.com")),
    ("host-whitelist", Text("example.com")),
    ("tls-min-version", Read(&["TLS1.3"], "TLS1.1")),
    ("tls-max-version", Read(&["TLS1.3"], "TLS1.1")),
    // Auth
    ("auth-token", Read(&["simple", "simple,a=b"], "jwt,sign-method=RS256")),
    ("bcrypt-cost", Read(&["4", "31"], "32")),
    ("auth-token-ttl", Read(&["60", "0x10", "0"], "-1")),
    // Profiling and monitoring, logging, tracing
    ("enable-pprof", SWITCH),
    ("metrics", Text("extensive")),
    ("listen-metrics-urls", Read(URLS, "x")),
    ("logger", Read(&["zap"], "capnslog")),
    ("log-outputs", Read(&["stdout", "stderr,log"], "stderr,")),
    ("log-level", Read(&["INFO", "warning", "dpanic", "Fatal"], "loud")),
    ("log-format", Read(&["console"], "xml")),
    ("enable-log-rotation", Read(&["false"], "true")),
    ("log-rotation-config-json", Read(&["{}"], "100")),
    ("warning-unary-request-duration", TIME),
    ("enable-distributed-tracing", SWITCH),
    ("distributed-tracing-address", Text("collector:4317")),
    ("distributed-tracing-service-name", Text("other")),
    ("distributed-tracing-instance-id", Text("other")),
    ("distributed-tracing-sampling-rate", NUMBER),
    // Features
    ("corrupt-check-time", TIME),
    ("compact-hash-check-time", TIME),
    ("compaction-batch-limit", NUMBER),
    ("peer-skip-client-san-verification", SWITCH),
    ("watch-progress-notify-interval", TIME),
    ("warning-apply-duration", TIME),
    ("bootstrap-defrag-threshold-megabytes", NUMBER),
    ("max-learners", COUNT),
    ("compaction-sleep-interval", TIME),
    ("downgrade-check-time", TIME),
    ("snapshot-catchup-entries", COUNT),
    ("force-new-cluster", SWITCH),
    ("unsafe-no-fsync", SWITCH),
    // etcd's help has no line for this flag, and only says that the file overrides all others.
    ("config-file", Read(&[], "file")),
    ("cluster-active-size", Ignored),
    ("cluster-remove-delay", Ignored),
    ("cluster-sync-interval", Ignored),
    ("config", Ignored),
    ("force", Ignored),
    ("max-result-buffer", Ignored),
    ("max-retry-attempts", Ignored),
    ("peer-heartbeat-interval", Ignored),
    ("peer-election-timeout", Ignored),
    ("retry-interval", Ignored),
    ("snapshot", Ignored),
    ("v", Ignored),
    ("vv", Ignored),
];

fn variable(name: &str) -> String {
    format!("ETCD_{}", name.to_uppercase().replace('-', "_"))
}

/// Runs the program with a setting, as a flag or a variable, and with another, invalid one, so that
/// it never starts. Returns the error lines about the setting.
fn errors_about(name: &str, value: &str, as_variable: bool) -> Vec<String> {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(program::quorate());
    command.arg("--log-format=impossible").current_dir(&home);
    if name == "log-format" {
        command = Command::new(program::quorate());
        command.arg("--log-level=impossible").current_dir(&home);
    }
    // These settings need another one.
    if name == "listen-client-urls" {
        command.arg("--advertise-client-urls=http://127.0.0.1:1");
    }
    if name == "discovery-cert" || name == "discovery-key" {
        command.args(["--discovery-cert=file", "--discovery-key=file"]);
        if as_variable {
            return Vec::new();
        }
    }
    if as_variable {
        command.env(variable(name), value);
    } else {
        command.arg(format!("--{name}={value}"));
    }
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.code() == Some(1), "{name}={value}: {status}\n{said}");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "{name}={value} made something");
    let lines = said.lines().filter(|line| !line.contains("\"impossible\""));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn assert_accepted(name: &str, value: &str) {
    for as_variable in [false, true] {
        let said = errors_about(name, value, as_variable);
        assert!(said.is_empty(), "{name}={value}: {said:?}");
    }
}

#[track_caller]
fn assert_refused(name: &str, value: &str, part: &str) {
    for as_variable in [false, true] {
        let said = errors_about(name, value, as_variable);
        let named = [format!("--{name}"), variable(name)];
        let is_named = said.iter().any(|line| named.iter().any(|name| line.contains(name)));
        assert!(is_named, "{name}={value}: {said:?}");
        assert!(said.iter().any(|line| line.contains(part)), "{name}={value}: {said:?}");
    }
}

fn check(name: &str, is: Is) {
    match is {
        Read(good, bad) => {
            good.iter().for_each(|value| assert_accepted(name, value));
            assert_refused(name, bad, "");
        }
        Text(value) => assert_accepted(name, value),
        Idle(good, bad) => {
            good.iter().for_each(|value| assert_accepted(name, value));
            assert_refused(name, bad, "must be one of");
        }
        Gone(bad) => {
            assert_accepted(name, "");
            let said = errors_about(name, bad, false);
            assert!(said.iter().any(|line| line.contains("etcd 3.7 does not have")), "{said:?}");
            assert_eq!(errors_about(name, bad, true), Vec::<String>::new());
        }
        Ignored => ["1", "false"].iter().for_each(|value| assert_accepted(name, value)),
    }
}

#[test]
fn each_setting_works_or_prevents_the_start() {
    thread::scope(|scope| {
        for some in SETTINGS.chunks(SETTINGS.len().div_ceil(4)) {
            scope.spawn(|| some.iter().for_each(|(name, is)| check(name, *is)));
        }
    });
}

#[test]
fn the_table_has_every_setting_of_etcd() {
    let Some(etcd) = program::etcd("settings of etcd", "etcd-3.7") else { return };
    let Output { stdout, .. } = Command::new(etcd).arg("--help").output().unwrap();
    let help = String::from_utf8(stdout).unwrap();
    let names = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let names: BTreeSet<&str> = names.chain(["config-file"]).collect();
    let is_told = |(_, is): &&(&str, Is)| !matches!(is, Ignored);
    let ours: BTreeSet<&str> = SETTINGS.iter().filter(is_told).map(|(name, _)| *name).collect();
    assert_eq!(names, ours);
}

#[test]
fn empty_variables_count_as_unset() {
    let empty: Vec<String> =
        SETTINGS.iter().map(|(name, _)| format!("{}=", variable(name))).collect();
    let launcher: Vec<&str> = ["env"].into_iter().chain(empty.iter().map(String::as_str)).collect();
    let home = TempDir::new().unwrap();
    let mut server = Server::in_folder(&program::quorate(), &home.path().join("server"), &[]);
    let mut clusters = Vec::new();
    for launcher in [&launcher[..], &[]] {
        server.set_launcher(launcher);
        server.start();
        clusters.push(cluster_id(&server));
        server.stop();
        assert!(!server.log_of_run().contains("is unknown and ignored"), "{}", server.log_of_run());
        fs::remove_dir_all(server.data_dir()).unwrap();
    }
    assert_eq!(clusters[0], clusters[1], "another cluster was founded");
}

/// The id of the cluster that a server founded, from its data directory.
fn cluster_id(server: &Server) -> String {
    let identity = fs::read_to_string(server.data_dir().join("member/IDENTITY")).unwrap();
    identity.lines().find(|line| line.starts_with("cluster ")).unwrap().to_owned()
}

/// Kubernetes sets variables for each service in every container; a service can be called `etcd`.
#[test]
fn unknown_variables_are_logged_and_ignored() {
    let others = [
        "ETCD_PORT=tcp://10.0.0.1:2379",
        "ETCD_PORT_2379_TCP=tcp://10.0.0.1:2379",
        "ETCD_PORT_2379_TCP_ADDR=10.0.0.1",
        "ETCD_SERVICE_HOST=10.0.0.1",
        "ETCD_SERVICE_PORT=2379",
        "ETCD_VERSION=3.7.3",
    ];
    let launcher: Vec<&str> = ["env"].into_iter().chain(others).collect();
    let server = Server::start_with(&launcher, &["--force", "--v2-deprecation=gone"]);
    let log = server.log();
    for other in others {
        let name = other.split('=').next().unwrap();
        let warned = format!("the variable {name} is unknown and ignored");
        assert!(log.contains(&warned), "{name}:\n{log}");
    }
    for flag in ["--force", "--v2-deprecation"] {
        assert!(log.contains(&format!("{flag} is ignored, as in etcd")), "{flag}:\n{log}");
    }
}

/// Starts a server through a launcher.
trait Through {
    fn start_with(launcher: &[&str], flags: &[&str]) -> Self;
}

impl Through for Server {
    fn start_with(launcher: &[&str], flags: &[&str]) -> Self {
        let mut server = Self::new(&program::quorate(), flags).with_launcher(launcher);
        server.start();
        server
    }
}

#[test]
fn settings_take_effect() {
    let gates = ["--feature-gates=InitialCorruptCheck=true,Nonsense=true"];
    let flags = ["--feature-gates", "CompactHashCheck=true", "--feature-gates=AllAlpha=false"];
    let launcher = ["env", "ETCD_QUOTA_BACKEND_BYTES=0x4000000"];
    let server = Server::start_with(&launcher, &[&gates[..], &flags].concat());
    let page = quorate_test_support::http::get(&server.address(), "/metrics").unwrap();
    let value = |start: &str| {
        let line = page.lines().find(|line| line.starts_with(start));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!(value("etcd_server_quota_backend_bytes"), Some(67_108_864.0));
    for gate in ["InitialCorruptCheck", "CompactHashCheck"] {
        let series = format!("etcd_server_feature_enabled{{name=\"{gate}\"");
        assert_eq!(value(&series), Some(1.0), "{gate}:\n{page}");
    }
    assert!(server.log().contains("\\\"Nonsense\\\" is unknown and ignored"), "{}", server.log());
}

/// Whether the server has a log file open with `O_DSYNC`.
fn waits_for_the_disk(server: &Server) -> bool {
    const O_DSYNC: u32 = 0o10_000;
    let process = format!("/proc/{}", server.pid());
    fs::read_dir(format!("{process}/fd")).unwrap().any(|fd| {
        let fd = fd.unwrap();
        let is_log =
            fs::read_link(fd.path()).is_ok_and(|to| to.extension() == Some("wal".as_ref()));
        let about = format!("{process}/fdinfo/{}", fd.file_name().display());
        let about = fs::read_to_string(about).unwrap_or_default();
        let flags = about.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        is_log && flags.is_some_and(|flags| flags & O_DSYNC != 0)
    })
}

#[test]
fn unsafe_no_fsync_does_not_wait_for_the_disk() {
    let mut server = Server::start_new(&program::quorate(), &["--unsafe-no-fsync"]);
    assert!(server.log().contains("this member loses acknowledged writes"));
    assert!(!waits_for_the_disk(&server));
    let mut keys = quorate_test_conformance::acknowledged::Acknowledged::default();
    assert_eq!(keys.write(&server, 20, 100), None);
    server.kill();
    // A crash of the process alone loses nothing.
    server.remove_flags(&["--unsafe-no-fsync"]);
    server.start();
    assert_eq!(keys.missing(&server), None);
    if !waits_for_the_disk(&server) {
        println!("the file system has no direct IO: nothing to compare with");
    }
}
