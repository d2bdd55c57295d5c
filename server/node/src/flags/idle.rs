//! Settings that have no effect in etcd either.

use super::flag::{Fate, Flag, Takes, hidden};

const fn ignored(name: &'static str) -> Flag {
    hidden(name, Takes::Bool, Fate::Idle(None)).not_in_file()
}

const V2_STAGES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// All settings without an effect.
pub(super) const FLAGS: &[Flag] = &[
    hidden("v2-deprecation", Takes::Value("TEXT"), Fate::Idle(Some(V2_STAGES))),
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
