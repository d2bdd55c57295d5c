//! Settings of the store.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

/// The flags of the store that [`Settings::flags`] may have. All others belong to the operator, or
/// make a store that can lose acknowledged writes.
pub const FLAGS: [&str; 17] = [
    "compact-hash-check-time",
    "corrupt-check-time",
    "election-timeout",
    "feature-gates",
    "grpc-keepalive-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-timeout",
    "heartbeat-interval",
    "log-level",
    "max-concurrent-streams",
    "max-request-bytes",
    "max-txn-ops",
    "memory-budget",
    "snapshot-catchup-entries",
    "tls-max-version",
    "tls-min-version",
    "watch-progress-notify-interval",
];

/// Those of [`FLAGS`] whose values are numbers: counts, bytes and milliseconds.
const NUMBERS: [&str; 7] = [
    "election-timeout",
    "heartbeat-interval",
    "max-concurrent-streams",
    "max-request-bytes",
    "max-txn-ops",
    "memory-budget",
    "snapshot-catchup-entries",
];

/// Those of [`FLAGS`] whose values are spans of time as [`TIME`] has them.
const TIMES: [&str; 6] = [
    "compact-hash-check-time",
    "corrupt-check-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-min-time",
    "grpc-keepalive-timeout",
    "watch-progress-notify-interval",
];

/// A span of time as the store reads it.
const TIME: &str = "^(0|([0-9]{1,6}([.][0-9]{1,9})?(h|m|s|ms|us|ns))+)$";

/// Settings of the store.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// How much data the store takes before it refuses writes, as in 4Gi. The volume must have room
    /// for twice as much and 512Mi of logs. The default is 45 % of the volume less 512Mi, and at
    /// least an eighth of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new(
            "!isQuantity(self) || quantity(self).compareTo(quantity('16Mi')) >= 0"
        )
        .message("settings.quota must be at least 16Mi")
    )]
    pub quota: Option<Quantity>,
    /// Automatic compaction of old revisions. The default is none: kube-apiserver compacts by
    /// itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
    /// Further flags of the store, without dashes in front, as in max-request-bytes with the value
    /// 2097152. The operator sets flags of identity, addresses, certificates, quota and compaction
    /// itself.
    #[schemars(schema_with = "flags_schema")]
    #[serde(default)]
    pub flags: BTreeMap<String, String>,
}

fn flags_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 256 },
        "x-kubernetes-validations": [
            {
                "rule": format!("self.all(flag, flag in ['{}'])", FLAGS.join("', '")),
                "message": format!(
                    "settings.flags may have {}: the operator sets all other flags itself",
                    FLAGS.join(", "),
                ),
            },
            {
                "rule": format!(
                    "self.all(flag, !(flag in ['{}']) || self[flag].matches(\
                     flag == 'memory-budget' ? '^[0-9]{{1,12}}$' : '^[0-9]{{1,9}}$'))",
                    NUMBERS.join("', '"),
                ),
                "message": format!(
                    "settings.flags must have a number for {}: of at most 12 digits for \
                     memory-budget, and of 9 for the others",
                    NUMBERS.join(", "),
                ),
            },
            {
                "rule": format!(
                    "self.all(flag, !(flag in ['{}']) || self[flag].matches('{TIME}'))",
                    TIMES.join("', '"),
                ),
                "message": format!(
                    "settings.flags must have a span of time, as in 1h30m or 500ms, for {}",
                    TIMES.join(", "),
                ),
            },
            {
                "rule": "self.all(flag, flag != 'log-level' || self[flag] in \
                    ['debug', 'info', 'warn', 'error', 'panic', 'fatal'])",
                "message": "settings.flags must have debug, info, warn, error, panic or fatal for \
                    log-level",
            },
            {
                "rule": "self.all(flag, !(flag in ['tls-max-version', 'tls-min-version']) \
                    || self[flag] in ['TLS1.2', 'TLS1.3'])",
                "message": "settings.flags must have TLS1.2 or TLS1.3 for tls-max-version and \
                    tls-min-version",
            },
        ],
    })
}

/// Automatic compaction of old revisions.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.mode != 'Periodic' || self.retention.matches('^[1-9][0-9]{0,6}(h|m|s)$')"
    )
    .message(
        "compaction.retention must be a span of time in one unit, as in 5m, when mode is Periodic"
    )
    .field_path(".retention"),
    validation = Rule::new(
        "self.mode != 'Revision' || self.retention.matches('^[1-9][0-9]{0,14}$')"
    )
    .message(
        "compaction.retention must be a number of at most 15 digits, as in 10000, when mode is \
         Revision"
    )
    .field_path(".retention")
)]
pub struct Compaction {
    /// Whether the retention is a span of time, with Periodic, or a number of revisions, with
    /// Revision.
    pub mode: CompactionMode,
    /// The history that is kept: a span of time, as in 5m, or a number of revisions, as in 10000.
    #[schemars(length(max = 16))]
    pub retention: String,
}

/// The unit of a retention.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum CompactionMode {
    /// A span of time.
    Periodic,
    /// A number of revisions.
    Revision,
}
