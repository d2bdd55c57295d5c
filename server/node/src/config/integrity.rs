//! Reads the flags of the corruption checks, which compare the members' data.

use std::time::Duration;

use quorate_raft::IntegrityChecks;

use super::reader::{Reader, parse_bool};

const GATES: &str = "feature-gates";
/// Feature gates of etcd 3.6 to 3.8 that have no effect here, with texts that say why.
const WITHOUT_MEANING: [(&str, &str); 8] = [
    ("StopGRPCServiceOnDefrag", "a defragmentation blocks no request"),
    ("NonBlockingDefrag", "a defragmentation blocks no request"),
    ("TxnModeWriteWithSharedBuffer", "transactions read no buffer that others fill"),
    ("LeaseCheckpoint", "a new leader gives every lease its whole time"),
    ("LeaseCheckpointPersist", "a new leader gives every lease its whole time"),
    ("SetMemberLocalAddr", "the system chooses the address that a member calls from"),
    ("FastLeaseKeepAlive", "keepalives wait for no write"),
    ("PriorityRequest", "requests of the members themselves have room of their own"),
];

/// Reads the flags under "Integrity".
pub(super) fn read(reader: &mut Reader<'_>) -> IntegrityChecks {
    let mut at_start = None;
    let mut after_compaction = None;
    let mut alpha = None;
    let gates = reader.text(GATES);
    for gate in gates.split(',').filter(|gate| !gate.is_empty()) {
        let (name, value) = gate.split_once('=').unwrap_or((gate, ""));
        let Some(value) = parse_bool(value.trim()) else {
            reader.problem(GATES, format!("{gate:?} is not NAME=true or NAME=false"));
            continue;
        };
        match name.trim() {
            "InitialCorruptCheck" => at_start = Some(value),
            "CompactHashCheck" => after_compaction = Some(value),
            "AllAlpha" => alpha = Some(value),
            "AllBeta" => {}
            name => match WITHOUT_MEANING.iter().find(|(gate, _)| *gate == name) {
                Some((_, instead)) => {
                    reader.warn(format!("--{GATES}: {name} has no effect: {instead}"));
                }
                None => reader.warn(format!("--{GATES}: {name:?} is unknown and ignored")),
            },
        }
    }
    // AllAlpha applies to the gates that are not named, wherever it is in the list.
    let alpha = alpha.unwrap_or(false);
    let at_start = at_start.unwrap_or(alpha);
    let after_compaction = after_compaction.unwrap_or(alpha);
    let every = reader.duration("corrupt-check-time");
    let pause = reader.duration("compact-hash-check-time");
    if pause.is_zero() {
        reader.problem("compact-hash-check-time", "must be longer than 0");
    }
    IntegrityChecks {
        at_start,
        every: (every > Duration::ZERO).then_some(every),
        after_compaction: after_compaction.then_some(pause),
    }
}
