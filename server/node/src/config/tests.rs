//! Settings as flags give them, and what is said of bad ones.

use super::*;
use crate::flags::tests::settings;

fn problems(arguments: &[&str]) -> Vec<String> {
    let problems = Config::new(&settings(arguments)).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_those_of_etcd() {
    let config = Config::new(&settings(&[])).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.raft.request_timeout, Duration::from_secs(7));
    assert_eq!(config.raft.auto_compaction, None);
    assert_eq!(config.api.min_lease_ttl, 2);
    assert_eq!(config.api.max_request_bytes, 1_572_864);
    assert_eq!(config.api.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.ports.ping_interval, Some(Duration::from_secs(7200)));
    assert_eq!(config.ports.max_concurrent_streams, u32::MAX);
    assert_eq!(config.tls, None);
    assert_eq!(config.founding.founders.len(), 1);
    assert!(config.warnings.is_empty());
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(&[
        "--listen-client-urls=http://example.com:1,tcp://x",
        "--max-txn-ops=0",
        "--max-request-bytes=lots",
        "--election-timeout=100",
        "--client-cert-auth",
        "--cert-file=a",
        "--auto-compaction-retention=soon",
        "--log-level=loud",
        "--initial-cluster=x",
    ]);
    let flags = [
        "listen-client-urls",
        "advertise-client-urls",
        "initial-cluster",
        "client-cert-auth",
        "key-file",
        "log-level",
        "election-timeout",
        "auto-compaction-retention",
        "max-request-bytes",
        "max-txn-ops",
    ];
    for flag in flags {
        assert!(found.iter().any(|p| p.starts_with(&format!("--{flag}: "))), "{flag}: {found:#?}");
    }
    assert_eq!(found.len(), flags.len(), "{found:#?}");
}

#[test]
fn retention_is_hours_a_time_or_revisions() {
    let retention = |mode: &str, length: &str| {
        let mode = format!("--auto-compaction-mode={mode}");
        let length = format!("--auto-compaction-retention={length}");
        Config::new(&settings(&[&mode, &length])).map(|config| config.raft.auto_compaction)
    };
    let periodic = |seconds| Some(AutoCompaction::Periodic(Duration::from_secs(seconds)));
    assert_eq!(retention("periodic", "8"), Ok(periodic(8 * 3600)));
    assert_eq!(retention("periodic", "30m"), Ok(periodic(1800)));
    assert_eq!(retention("periodic", "0s"), Ok(None));
    assert_eq!(retention("revision", "1000"), Ok(Some(AutoCompaction::Revisions(1000))));
    assert!(retention("revision", "30m").is_err());
    assert!(retention("periodic", "-1").is_err());
    assert!(retention("sometimes", "1").is_err());
}

#[test]
fn tls_needs_all_its_files() {
    let https = ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://a:1"];
    assert_eq!(problems(&https).len(), 1);
    let with = |more: &[&'static str]| [&https[..], more].concat();
    let files = with(&["--cert-file=c", "--key-file=k"]);
    let tls = Config::new(&settings(&files)).unwrap().tls.unwrap();
    assert_eq!((tls.client_authorities, tls.oldest), (None, TlsVersion::V12));
    // A certificate authority alone makes clients show certificates.
    let files = with(&["--cert-file=c", "--key-file=k", "--trusted-ca-file=a"]);
    let tls = Config::new(&settings(&files)).unwrap().tls.unwrap();
    assert_eq!(tls.client_authorities, Some(PathBuf::from("a")));
    assert!(problems(&with(&["--cert-file=c"]))[0].starts_with("--key-file"));
    // Who asks for certificates on a port without TLS would have a port that is open to all.
    let plain = ["--cert-file=c", "--key-file=k", "--trusted-ca-file=a"];
    assert!(problems(&plain)[0].starts_with("--trusted-ca-file"));
    let plain = Config::new(&settings(&["--cert-file=c", "--key-file=k"])).unwrap();
    assert_eq!(plain.warnings.len(), 1);
}
