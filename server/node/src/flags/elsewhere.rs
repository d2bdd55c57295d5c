//! Settings of etcd that there are not here, so that nobody takes them for set.
//!
//! A value is accepted when it asks for what is done anyway. Any other one stops the start: a
//! member that went on without it would not be what its operator relies on.

use clap::{Arg, ArgAction};

/// A setting of etcd alone.
pub(super) struct Elsewhere {
    pub(super) name: &'static str,
    /// Whether it stands for `true` when no value follows.
    pub(super) is_switch: bool,
    accepts: Accepts,
}

/// Which values are accepted.
enum Accepts {
    /// These: they ask for what is done here.
    Values(&'static [&'static str]),
    /// These, of which none has an effect in etcd either.
    Idle(&'static [&'static str]),
    /// All: etcd ignores the flag.
    Any,
}

const fn value(name: &'static str, accepted: &'static [&'static str]) -> Elsewhere {
    Elsewhere { name, is_switch: false, accepts: Accepts::Values(accepted) }
}

const fn switch(name: &'static str) -> Elsewhere {
    Elsewhere { name, is_switch: true, accepts: Accepts::Values(OFF) }
}

const fn ignored(name: &'static str) -> Elsewhere {
    Elsewhere { name, is_switch: true, accepts: Accepts::Any }
}

const EMPTY: &[&str] = &[""];
const OFF: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
const EVERYBODY: &[&str] = &["*", ""];
const ROTATION: &str = "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \
                        \"localtime\": false, \"compress\": false}";

/// All of them.
pub(super) const FLAGS: &[Elsewhere] = &[
    value("config-file", EMPTY),
    value("wal-dir", EMPTY),
    value("max-snapshots", &["5"]),
    value("max-wals", &["5"]),
    switch("memory-mlock"),
    value("backend-bbolt-freelist-type", &["map"]),
    value("backend-batch-interval", &["0s", "0"]),
    value("backend-batch-limit", &["0"]),
    switch("enable-grpc-gateway"),
    value("raft-read-timeout", &["5s"]),
    value("raft-write-timeout", &["5s"]),
    value("discovery", EMPTY),
    value("discovery-proxy", EMPTY),
    Elsewhere {
        name: "v2-deprecation",
        is_switch: false,
        accepts: Accepts::Idle(&[
            "write-only",
            "write-only-skip-check",
            "write-only-drop-data",
            "gone",
        ]),
    },
    value("client-cert-file", EMPTY),
    value("client-key-file", EMPTY),
    value("client-crl-file", EMPTY),
    switch("auto-tls"),
    value("peer-client-cert-file", EMPTY),
    value("peer-client-key-file", EMPTY),
    value("peer-crl-file", EMPTY),
    switch("peer-auto-tls"),
    value("self-signed-cert-validity", &["1"]),
    value("cipher-suites", EMPTY),
    value("cors", EVERYBODY),
    value("host-whitelist", EVERYBODY),
    value("auth-token", &["simple"]),
    value("auth-token-ttl", &["300"]),
    value("bcrypt-cost", &["10"]),
    switch("enable-pprof"),
    value("metrics", &["basic"]),
    switch("enable-log-rotation"),
    value("log-rotation-config-json", &[ROTATION]),
    value("warning-unary-request-duration", &["300ms"]),
    value("warning-apply-duration", &["100ms"]),
    switch("enable-distributed-tracing"),
    value("distributed-tracing-address", &["localhost:4317"]),
    value("distributed-tracing-service-name", &["etcd"]),
    value("distributed-tracing-instance-id", EMPTY),
    value("distributed-tracing-sampling-rate", &["0"]),
    value("compaction-batch-limit", &["1000"]),
    value("compaction-sleep-interval", &["10ms"]),
    value("bootstrap-defrag-threshold-megabytes", &["0"]),
    value("downgrade-check-time", &["5s"]),
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

impl Elsewhere {
    /// How the command line takes it; help says nothing of it.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).hide(true).action(ArgAction::Set);
        match self.is_switch {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => arg.allow_hyphen_values(true),
        }
    }

    /// What to warn of, if anything.
    ///
    /// # Errors
    /// Why the value stops the start.
    pub(super) fn check(&self, value: &str) -> Result<Option<&'static str>, String> {
        let accepted = match self.accepts {
            Accepts::Any => return Ok(Some("is ignored, as in etcd")),
            Accepts::Values(accepted) | Accepts::Idle(accepted) => accepted,
        };
        if accepted.contains(&value) {
            let is_idle = matches!(self.accepts, Accepts::Idle(_));
            return Ok(is_idle.then_some("is ignored, as in etcd"));
        }
        let way_out = match accepted.first() {
            None | Some(&"") => "leave it out".to_owned(),
            Some(first) => format!("leave it out, or set it to {first}"),
        };
        Err(format!("Quorate does not have this setting of etcd yet; {way_out}"))
    }
}
