//! etcd's feature gates in etcd's metric.

use prometheus::{IntGaugeVec, Opts};

use crate::ground::checks::IntegrityChecks;

/// Gates of etcd 3.7 that choose between two implementations where Quorate has only one; with
/// etcd's stage and default.
const WITHOUT_MEANING: [(&str, &str, bool); 9] = [
    ("AllAlpha", "ALPHA", false),
    ("AllBeta", "BETA", false),
    ("FastLeaseKeepAlive", "BETA", true),
    ("LeaseCheckpoint", "ALPHA", false),
    ("LeaseCheckpointPersist", "ALPHA", false),
    ("PriorityRequest", "ALPHA", false),
    ("SetMemberLocalAddr", "ALPHA", false),
    ("StopGRPCServiceOnDefrag", "ALPHA", false),
    ("TxnModeWriteWithSharedBuffer", "BETA", true),
];

/// The gauge of the enabled gates.
pub(super) fn enabled(checks: &IntegrityChecks) -> IntGaugeVec {
    let opts = Opts::new("etcd_server_feature_enabled", "Feature gates; 1 for one that is open.");
    let gates = IntGaugeVec::new(opts, &["name", "stage"]).expect("constants make gauges");
    let checked = [
        ("InitialCorruptCheck", "ALPHA", checks.at_start),
        ("CompactHashCheck", "ALPHA", checks.after_compaction.is_some()),
    ];
    for (name, stage, is_enabled) in WITHOUT_MEANING.into_iter().chain(checked) {
        gates.with_label_values(&[name, stage]).set(i64::from(is_enabled));
    }
    gates
}
