//! Settings of etcd that have no meaning here. They are accepted, and the log names their
//! substitutes.

use super::flag::{Fate, Flag, Takes};

const fn replaced(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    instead: &'static str,
) -> Flag {
    Flag { default, fate: Fate::Replaced(instead), ..super::flag::hidden(name, takes, Fate::Read) }
}

const COUNT: Takes = Takes::Number("COUNT");
const FILE: Takes = Takes::Value("FILE");

/// All settings without meaning.
pub(super) const FLAGS: &[Flag] = &[
    replaced(
        "max-snapshots",
        COUNT,
        "5",
        "there are no snapshot files; the database has the state",
    ),
    replaced(
        "max-wals",
        COUNT,
        "5",
        "the log keeps the entries that the database lacks, and --snapshot-catchup-entries more",
    ),
    replaced(
        "memory-mlock",
        Takes::Bool,
        "false",
        "not all data are in memory; turn off the swap of the machine or the container",
    ),
    replaced(
        "backend-bbolt-freelist-type",
        Takes::Value("TYPE"),
        "map",
        "the database keeps its own list of free pages",
    ),
    replaced(
        "backend-batch-interval",
        Takes::Time,
        "0s",
        "the size of the data in memory decides when they go to the database",
    ),
    replaced(
        "backend-batch-limit",
        COUNT,
        "0",
        "the size of the data in memory decides when they go to the database",
    ),
    replaced(
        "raft-read-timeout",
        Takes::Time,
        "5s",
        "the limits of calls between members follow --election-timeout",
    ),
    replaced(
        "raft-write-timeout",
        Takes::Time,
        "5s",
        "the limits of calls between members follow --election-timeout",
    ),
    replaced(
        "compaction-batch-limit",
        COUNT,
        "1000",
        "a compaction deletes in small steps that block no other request",
    ),
    replaced(
        "compaction-sleep-interval",
        Takes::Time,
        "10ms",
        "a compaction deletes in small steps that block no other request",
    ),
    replaced(
        "bootstrap-defrag-threshold-megabytes",
        COUNT,
        "0",
        "the database returns free space to the disk while it serves",
    ),
    replaced(
        "downgrade-check-time",
        Takes::Time,
        "5s",
        "members of two adjacent versions work together without a check",
    ),
    replaced(
        "client-cert-file",
        FILE,
        "",
        "a member answers JSON requests itself and opens no connection to its own client port",
    )
    .at("client-transport-security.client-cert-file"),
    replaced(
        "client-key-file",
        FILE,
        "",
        "a member answers JSON requests itself and opens no connection to its own client port",
    )
    .at("client-transport-security.client-key-file"),
];
