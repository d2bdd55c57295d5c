//! Settings of etcd that Quorate does not support.
//!
//! A value is accepted if it asks for what Quorate does anyway. Any other value stops the start,
//! because a member that ignored it would not do what its operator relies on.

use clap::{Arg, ArgAction};

/// A setting that only etcd has.
pub(super) struct Unsupported {
    pub(super) name: &'static str,
    /// Whether the flag means `true` if no value follows.
    pub(super) is_switch: bool,
    accepts: Accepts,
}

/// The accepted values.
enum Accepts {
    /// Values that ask for what Quorate does.
    Values(&'static [&'static str]),
    /// Values that have no effect in etcd either.
    Idle(&'static [&'static str]),
    /// Any value: etcd ignores the flag.
    Any,
}

const fn value(name: &'static str, accepted: &'static [&'static str]) -> Unsupported {
    Unsupported { name, is_switch: false, accepts: Accepts::Values(accepted) }
}

const fn switch(name: &'static str) -> Unsupported {
    Unsupported { name, is_switch: true, accepts: Accepts::Values(OFF) }
}

const fn ignored(name: &'static str) -> Unsupported {
    Unsupported { name, is_switch: true, accepts: Accepts::Any }
}

const EMPTY: &[&str] = &[""];
const OFF: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
const EVERYBODY: &[&str] = &["*", ""];
const ROTATION: &str = "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \
                        \"localtime\": false, \"compress\": false}";

/// All settings that only etcd has.
pub(super) const FLAGS: &[Unsupported] = &[
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
    Unsupported {
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

impl Unsupported {
    /// The argument for the command line. The help text does not show it.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).hide(true).action(ArgAction::Set);
        if self.is_switch {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.allow_hyphen_values(true)
        }
    }

    /// The warning that the value causes, if any.
    ///
    /// # Errors
    /// The value stops the start; the text says what to do.
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
        Err(format!("Quorate does not support this setting of etcd yet; {way_out}"))
    }
}
