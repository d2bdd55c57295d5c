//! Names of settings in etcd 3.4 to 3.6 that etcd 3.7 does not have any more.

use super::flag::{Fate, Flag, Takes, hidden};

/// Another name of a flag. It takes the same kind of value as that flag.
const fn renamed(name: &'static str, new: &'static str) -> Flag {
    hidden(name, Takes::Bool, Fate::Renamed(new))
}

/// Another name of a feature gate.
const fn gate(name: &'static str, gate: &'static str) -> Flag {
    hidden(name, Takes::Bool, Fate::Gate(gate))
}

const fn gone(
    name: &'static str,
    takes: Takes,
    idle: Option<&'static [&'static str]>,
    instead: &'static str,
) -> Flag {
    hidden(name, takes, Fate::Gone(idle, instead))
}

const NOTHING: Option<&[&str]> = Some(&[""]);
const OFF: Option<&[&str]> = Some(&["false", "0", "f", "F", "FALSE", "False"]);
const TEXT: Takes = Takes::Value("TEXT");

const NO_PROXY: &str = "there is no proxy mode; etcd's own `etcd grpc-proxy start` works";
const NO_V2: &str = "only the v3 API is served";
const DISCOVERY: &str = "use --discovery-token and --discovery-endpoints";

/// All former names.
pub(super) const FLAGS: &[Flag] = &[
    gate("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    gate("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    gate("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    gate("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    gate("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    gate("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
    gate("experimental-set-member-localaddr", "SetMemberLocalAddr"),
    renamed("experimental-compact-hash-check-time", "compact-hash-check-time"),
    renamed("experimental-corrupt-check-time", "corrupt-check-time"),
    renamed("experimental-compaction-batch-limit", "compaction-batch-limit"),
    renamed("experimental-compaction-sleep-interval", "compaction-sleep-interval"),
    renamed("experimental-watch-progress-notify-interval", "watch-progress-notify-interval"),
    renamed("experimental-warning-apply-duration", "warning-apply-duration"),
    renamed("experimental-warning-unary-request-duration", "warning-unary-request-duration"),
    renamed(
        "experimental-bootstrap-defrag-threshold-megabytes",
        "bootstrap-defrag-threshold-megabytes",
    ),
    renamed("experimental-memory-mlock", "memory-mlock"),
    renamed("experimental-snapshot-catchup-entries", "snapshot-catchup-entries"),
    renamed("experimental-snapshot-catch-up-entries", "snapshot-catchup-entries"),
    renamed("experimental-downgrade-check-time", "downgrade-check-time"),
    renamed("experimental-max-learners", "max-learners"),
    renamed("experimental-peer-skip-client-san-verification", "peer-skip-client-san-verification"),
    renamed("experimental-enable-distributed-tracing", "enable-distributed-tracing"),
    renamed("experimental-distributed-tracing-address", "distributed-tracing-address"),
    renamed("experimental-distributed-tracing-service-name", "distributed-tracing-service-name"),
    renamed("experimental-distributed-tracing-instance-id", "distributed-tracing-instance-id"),
    renamed("experimental-distributed-tracing-sampling-rate", "distributed-tracing-sampling-rate"),
    renamed("experimental-backend-bbolt-freelist-type", "backend-bbolt-freelist-type"),
    renamed("log-output", "log-outputs"),
    gone("experimental-enable-v2v3", TEXT, NOTHING, NO_V2),
    gone(
        "experimental-wait-cluster-ready-timeout",
        Takes::Time,
        None,
        "a member serves once its cluster knows it",
    ),
    gone("enable-v2", Takes::Bool, OFF, NO_V2),
    gone("debug", Takes::Bool, OFF, "use --log-level=debug"),
    gone("log-package-levels", TEXT, NOTHING, "use --log-level"),
    gone("proxy", TEXT, Some(&["off", "false", ""]), NO_PROXY),
    gone("proxy-dial-timeout", TEXT, None, NO_PROXY),
    gone("proxy-failure-wait", TEXT, None, NO_PROXY),
    gone("proxy-read-timeout", TEXT, None, NO_PROXY),
    gone("proxy-refresh-interval", TEXT, None, NO_PROXY),
    gone("proxy-write-timeout", TEXT, None, NO_PROXY),
    gone("discovery", TEXT, NOTHING, DISCOVERY),
    gone("discovery-proxy", TEXT, NOTHING, DISCOVERY),
];
