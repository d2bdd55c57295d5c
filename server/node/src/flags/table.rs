//! The table of all settings.

use super::flag::{Fate, Flag, Takes, number, switch, time, value};
use super::{cluster, former, idle, replaced, security};

/// The flag that names the configuration file.
pub(super) const CONFIG_FILE: &str = "config-file";
/// The flag whose values are joined if it is given several times, as in etcd.
pub(super) const GATES: &str = "feature-gates";

/// The flags that the help text shows, by their heading.
pub(super) const FLAGS: &[(&str, &[Flag])] = &[
    ("Member", MEMBER),
    ("Cluster", cluster::FLAGS),
    ("Discovery", cluster::DISCOVERY),
    ("Integrity", cluster::INTEGRITY),
    ("Limits", LIMITS),
    ("Security of the client port", security::CLIENTS),
    ("HTTP for clients", security::WEB),
    ("Users", security::USERS),
    ("Security between members", security::PEERS),
    ("Logging and monitoring", LOGGING),
    ("Distributed tracing", TRACING),
    ("Configuration file", FILE),
    ("Unsafe", UNSAFE),
];

const MEMBER: &[Flag] = &[
    value("name", "NAME", "default", "Human-readable name of this member"),
    value("data-dir", "DIR", "", "Data directory of this member [default: NAME.etcd]"),
    value("wal-dir", "DIR", "", "Directory of the log [default: member/wal in the data directory]"),
    value(
        "listen-client-urls",
        "URLS",
        "http://localhost:2379",
        "URLs to serve clients at: http, https, unix or unixs, separated by commas",
    ),
    value(
        "listen-client-http-urls",
        "URLS",
        "",
        "URLs to serve HTTP pages such as /health at; the client URLs then serve only gRPC",
    ),
    value(
        "listen-metrics-urls",
        "URLS",
        "",
        "Additional URLs to serve /metrics, /health, /livez and /readyz at",
    ),
    value("listen-peer-urls", "URLS", "http://localhost:2380", "URLs to serve other members at"),
    switch("socket-reuse-port", "Let several processes listen at the same address")
        .at("socket-options.reuse-port"),
    switch(
        "socket-reuse-address",
        "Listen at an address that has connections in TIME_WAIT; always done",
    )
    .at("socket-options.reuse-address"),
    number(
        "quota-backend-bytes",
        "BYTES",
        "0",
        "Size of the data above which writes are refused: 0 for 2 GiB, negative for no limit",
    ),
    value(
        "auto-compaction-mode",
        "MODE",
        "periodic",
        "Unit of the retention: periodic (time) or revision",
    ),
    value(
        "auto-compaction-retention",
        "LENGTH",
        "0",
        "History to keep: a time such as 30m or a number of hours; in the mode revision, a number \
         of revisions; 0 keeps all",
    ),
    number(
        "snapshot-count",
        "COUNT",
        "10000",
        "Entries before a snapshot; ignored: the size of the data in memory decides",
    ),
    number(
        "snapshot-catchup-entries",
        "COUNT",
        "5000",
        "Entries that the log keeps for followers that lag behind",
    ),
    number("heartbeat-interval", "MS", "100", "Milliseconds between the heartbeats of a leader"),
    number("election-timeout", "MS", "1000", "Milliseconds without a leader before an election"),
];

const LIMITS: &[Flag] = &[
    number("max-request-bytes", "BYTES", "1572864", "Largest size of a request"),
    number("max-txn-ops", "COUNT", "128", "Largest number of operations in a transaction"),
    number(
        "memory-budget",
        "BYTES",
        "0",
        "Memory for requests, answers and events in flight. When it is used up, requests wait, and \
         fail with \"too many requests\" if that lasts. 0 means a twelfth of the memory limit of \
         the process's control group, or of the machine",
    ),
    number(
        "max-concurrent-streams",
        "COUNT",
        "4294967295",
        "Largest number of open requests and streams on one connection of a client",
    ),
    time(
        "grpc-keepalive-min-time",
        "5s",
        "Shortest time between the pings of a client; never enforced, because a ping is cheap",
    ),
    time(
        "grpc-keepalive-interval",
        "2h",
        "Idle time of a connection before the client is pinged; 0 for never",
    ),
    time(
        "grpc-keepalive-timeout",
        "20s",
        "Time that a pinged client has to answer before its connection is closed",
    ),
    time(
        "watch-progress-notify-interval",
        "10m",
        "Time between the progress notifications of a watch that asks for them",
    ),
];

const LOGGING: &[Flag] = &[
    value("logger", "NAME", "zap", "Format of the log's fields; zap, as in etcd, is the only one"),
    value(
        "log-outputs",
        "OUTPUTS",
        "default",
        "Outputs of the log: default or stderr, stdout, or files, separated by commas",
    ),
    value(
        "log-level",
        "LEVEL",
        "info",
        "Lowest level that is logged: debug, info, warn, error, panic or fatal",
    ),
    value("log-format", "FORMAT", "json", "Format of a log line: json or console"),
    switch("enable-log-rotation", "Begin a new log file when the log file has its largest size"),
    value(
        "log-rotation-config-json",
        "JSON",
        "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \"localtime\": false, \
         \"compress\": false}",
        "maxsize: largest size of the log file in MB; maxage: days for which earlier files are \
         kept, 0 for ever; maxbackups: number of earlier files that are kept, 0 for all; \
         localtime: ignored, the names of earlier files have UTC; compress: compress earlier files",
    ),
    time(
        "warning-apply-duration",
        "100ms",
        "Reads, and batches of changes, that take longer than this are logged",
    ),
    time(
        "warning-unary-request-duration",
        "300ms",
        "Calls with one answer that take longer than this are logged",
    ),
    value(
        "metrics",
        "DETAIL",
        "basic",
        "Detail of the metrics: basic, or extensive for a histogram of the duration of calls",
    ),
    switch("enable-pprof", "Serve a page at /debug/pprof/: the memory, threads and tasks in use"),
];

const TRACING: &[Flag] = &[
    switch("enable-distributed-tracing", "Send spans of calls to an OpenTelemetry collector"),
    value(
        "distributed-tracing-address",
        "ADDRESS",
        "localhost:4317",
        "Host and port of the collector's gRPC receiver, which is called without TLS",
    ),
    value(
        "distributed-tracing-service-name",
        "NAME",
        "etcd",
        "Name of the service in the spans, the same for all members",
    ),
    value(
        "distributed-tracing-instance-id",
        "ID",
        "",
        "Name of this member in the spans, a different one for each member",
    ),
    number(
        "distributed-tracing-sampling-rate",
        "COUNT",
        "0",
        "Calls of each million that are traced, besides those whose client asks for it",
    ),
];

const FILE: &[Flag] = &[value(
    CONFIG_FILE,
    "FILE",
    "",
    "Read all settings from this YAML file, and ignore other flags and variables",
)
.not_in_file()];

const UNSAFE: &[Flag] = &[switch(
    "unsafe-no-fsync",
    "Acknowledge writes before they are synced to the disk: a crash of the machine loses them; \
     for tests only",
)];

/// All settings.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    let hidden = [replaced::FLAGS, former::FLAGS, idle::FLAGS];
    FLAGS.iter().map(|(_, flags)| *flags).chain(hidden).flatten()
}

/// The kind of value that a setting takes. A former name takes the kind of the present name.
pub(super) fn takes(flag: &Flag) -> Takes {
    match flag.fate {
        Fate::Renamed(new) => {
            all().find(|flag| flag.name == new).map_or(flag.takes, |new| new.takes)
        }
        _ => flag.takes,
    }
}
