//! Which comparisons of the members' data are made.

use std::time::Duration;

use quorate_raft::IntegrityChecks;

use super::reader::{Reader, truth};

const GATES: &str = "feature-gates";
/// Gates of etcd 3.7 that choose between ways of doing what is done here in one way.
const WITHOUT_MEANING: [&str; 7] = [
    "StopGRPCServiceOnDefrag",
    "TxnModeWriteWithSharedBuffer",
    "LeaseCheckpoint",
    "LeaseCheckpointPersist",
    "SetMemberLocalAddr",
    "FastLeaseKeepAlive",
    "PriorityRequest",
];

/// Reads the flags under "Integrity".
pub(super) fn read(reader: &mut Reader<'_>) -> IntegrityChecks {
    let (mut at_start, mut after_compaction, mut alpha) = (None, None, None);
    let gates = reader.text(GATES);
    for gate in gates.split(',').filter(|gate| !gate.is_empty()) {
        let (name, value) = gate.split_once('=').unwrap_or((gate, ""));
        let Some(value) = truth(value.trim()) else {
            reader.problem(GATES, format!("{gate:?} is not NAME=true or NAME=false"));
            continue;
        };
        match name.trim() {
            "InitialCorruptCheck" => at_start = Some(value),
            "CompactHashCheck" => after_compaction = Some(value),
            "AllAlpha" => alpha = Some(value),
            "AllBeta" => {}
            name if WITHOUT_MEANING.contains(&name) => {
                reader.warn(format!("--{GATES}: {name} changes nothing here"));
            }
            name => reader.warn(format!("--{GATES}: there is no feature {name:?}")),
        }
    }
    // It is for those gates that are not named, wherever it stands.
    let alpha = alpha.unwrap_or(false);
    let at_start = at_start.unwrap_or(alpha);
    let after_compaction = after_compaction.unwrap_or(alpha);
    let every = reader.duration("corrupt-check-time");
    let pause = reader.duration("compact-hash-check-time");
    if pause.is_zero() {
        reader.problem("compact-hash-check-time", "it must be longer than 0");
    }
    IntegrityChecks {
        at_start,
        every: (every > Duration::ZERO).then_some(every),
        after_compaction: after_compaction.then_some(pause),
    }
}
