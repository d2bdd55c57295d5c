//! The conditions of a cluster and their reasons. Both are stable: tools and alerts compare them.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The type of a condition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// A majority of the voters is healthy and serves.
    Available,
    /// A change is under way.
    Progressing,
    /// A member or something else is not as it should be.
    Degraded,
    /// The spec can be followed as it is.
    Valid,
    /// No certificate is close to its expiry, and all are renewed and used.
    CertificatesValid,
    /// No member is short of space.
    SpaceSufficient,
}

/// Why a condition is as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// All is as it should be.
    AsExpected,
    /// The first member has not started yet.
    Founding,
    /// A majority of the voters is healthy.
    QuorumHealthy,
    /// Too few voters are healthy.
    QuorumLost,
    /// No member answers the operator.
    Unreachable,
    /// All members are stopped on request.
    Hibernated,
    /// The operator does not work on the cluster, on request.
    Paused,
    /// A change is under way.
    ChangeUnderWay,
    /// A change has not ended by its deadline.
    DeadlineExceeded,
    /// A member is unhealthy.
    MemberUnhealthy,
    /// A member was removed from the store, and not by the operator.
    MemberLost,
    /// The store has members that the operator does not know.
    UnknownMember,
    /// The store has another cluster id than the one recorded.
    OtherCluster,
    /// The spec cannot be followed.
    InvalidSpec,
    /// The version asked for is older than the one that runs, newer by more than one minor
    /// version, or too new for the operator.
    VersionRefused,
    /// A member runs another version than the one that its image should have.
    VersionMismatch,
    /// A certificate is close to its expiry.
    ExpiresSoon,
    /// The Secret of an authority is lost or damaged, so that nothing can be issued.
    AuthorityLost,
    /// A Secret with certificates cannot be written.
    IssueRefused,
    /// A member does not use its renewed certificates.
    RenewalUnused,
    /// A member refuses writes for want of space.
    NoSpace,
    /// A member has found its data damaged.
    Corrupt,
}

/// The schema of a list of conditions, merged by type.
pub(crate) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    let text = |length: u32, description: &str| {
        json_schema!({
            "type": "string", "maxLength": length, "description": description,
        })
    };
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": text(316, "The type of the condition."),
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds: True, False or Unknown.",
                },
                "reason": text(1024, "The reason of the status, in one stable word."),
                "message": text(32768, "The reason of the status, as a text."),
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The generation of the spec that the condition is about.",
                },
            },
        },
    })
}
