//! Settings of etcd that Quorate does not support yet, and those that etcd ignores.
//!
//! A value is accepted if it asks for what Quorate does anyway. Any other value stops the start,
//! because a member that ignored it would not do what its operator relies on.

use super::flag::{Fate, Flag, Takes, hidden};

const fn value(name: &'static str, accepted: &'static [&'static str]) -> Flag {
    hidden(name, Takes::Value("TEXT"), Fate::Missing(accepted))
}

const fn ignored(name: &'static str) -> Flag {
    hidden(name, Takes::Bool, Fate::Idle(None)).not_in_file()
}

const V2_STAGES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// All settings that only etcd has.
pub(super) const FLAGS: &[Flag] = &[
    hidden("v2-deprecation", Takes::Value("TEXT"), Fate::Idle(Some(V2_STAGES))),
    value("auth-token", &["simple"]),
    ignored("cluster-active-size"),
    ignored("cluster-remove-delay"),
    ignored("cluster-sync-interval"),
    ignored("config"),
    ignored("force"),
    ignored("max-result-buffer"),
    ignored("max-retry-attempts"),
    ignored("peer-heartbeat-interval"),
    ignored("peer-election-timeout"),
    ignored("retry-interval"),
    ignored("snapshot"),
    ignored("v"),
    ignored("vv"),
    ignored("test.coverprofile"),
    ignored("test.outputdir"),
];
