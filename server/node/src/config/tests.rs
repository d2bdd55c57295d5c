//! Tests how flags become a configuration, and which problems they report.

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
    assert_eq!(config.raft.log_keep_entries, 5000);
    assert_eq!(config.api.min_lease_ttl, 2);
    assert_eq!(config.api.max_request_bytes, 1_572_864);
    assert_eq!(config.api.watch_progress_interval, Duration::from_secs(600));
    assert_eq!(config.ports.ping_interval, Some(Duration::from_secs(7200)));
    assert_eq!(config.ports.max_concurrent_streams, u32::MAX);
    assert_eq!(config.tls, None);
    let Source::Listed(founders) = &config.initial_cluster.source else { panic!("{config:?}") };
    assert_eq!(founders.len(), 1);
    assert_eq!((&config.peer_tls.server, &config.peer_tls.client.pair), (&None, &None));
    assert!(config.warnings.is_empty());
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = problems(&[
        "--listen-client-urls=http://example.com:1,tcp://x",
        "--max-txn-ops=-1",
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
fn zero_means_what_it_means_to_etcd() {
    let zeros = ["--max-txn-ops=0", "--max-learners=0", "--max-concurrent-streams=0"];
    let config = Config::new(&settings(&zeros)).unwrap();
    assert_eq!((config.api.max_txn_ops, config.raft.membership.learners_max), (0, 0));
    assert_eq!(config.ports.max_concurrent_streams, u32::MAX);
    let interval = |text: &str| {
        let flag = format!("--watch-progress-notify-interval={text}");
        let config = Config::new(&settings(&[&flag])).unwrap();
        (config.api.watch_progress_interval, config.warnings.len())
    };
    assert_eq!(interval("0s"), (Duration::from_secs(600), 0));
    assert_eq!(interval("1ms"), (Duration::from_millis(100), 1));
    assert_eq!(interval("100ms"), (Duration::from_millis(100), 0));
}

#[test]
fn settings_without_effect_are_named() {
    let ignored = ["--initial-election-tick-advance=false", "--snapshot-count=10"];
    let warnings = Config::new(&settings(&ignored)).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, flag) in warnings.iter().zip(["initial-election-tick-advance", "snapshot-count"])
    {
        assert!(warning.contains(flag), "{warning}");
    }
}

#[test]
fn requests_are_no_larger_than_what_members_can_send() {
    let read = |bytes: usize| Config::new(&settings(&[&format!("--max-request-bytes={bytes}")]));
    assert_eq!(read(REQUEST_BYTES_MAX).unwrap().api.max_request_bytes, REQUEST_BYTES_MAX);
    let problem = read(REQUEST_BYTES_MAX + 1).unwrap_err().remove(0).to_string();
    assert!(problem.starts_with("--max-request-bytes: "), "{problem}");
    assert!(problem.contains(&format!("at most {REQUEST_BYTES_MAX}")), "{problem}");
}

#[test]
fn the_flags_of_kubeadm_are_accepted() {
    let config =
        Config::new(&settings(&["--snapshot-count=10000", "--snapshot-catchup-entries=7"]));
    assert_eq!(config.unwrap().raft.log_keep_entries, 7);
    assert_eq!(problems(&["--snapshot-count=many", "--snapshot-catchup-entries=-1"]).len(), 2);
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
    assert_eq!((tls.authorities, tls.rules.oldest), (None, TlsVersion::V12));
    // A trusted CA file alone makes the server require client certificates.
    let files = with(&["--cert-file=c", "--key-file=k", "--trusted-ca-file=a"]);
    let tls = Config::new(&settings(&files)).unwrap().tls.unwrap();
    assert_eq!(tls.authorities, Some(PathBuf::from("a")));
    assert!(problems(&with(&["--cert-file=c"]))[0].starts_with("--key-file"));
    // A trusted CA file without a TLS port would leave the port open to every client.
    let plain = ["--cert-file=c", "--key-file=k", "--trusted-ca-file=a"];
    assert!(problems(&plain)[0].starts_with("--trusted-ca-file"));
    let plain = Config::new(&settings(&["--cert-file=c", "--key-file=k"])).unwrap();
    assert_eq!(plain.warnings.len(), 1);
}

const PEERS: [&str; 2] =
    ["--listen-peer-urls=https://127.0.0.1:1", "--initial-advertise-peer-urls=https://a:1"];

#[test]
fn tls_between_members_needs_all_its_files() {
    let with = |more: &[&'static str]| [&PEERS[..], more].concat();
    assert!(problems(&PEERS)[0].starts_with("--peer-cert-file"));
    let half = problems(&with(&["--peer-cert-file=c"]));
    assert!(half.len() == 1 && half[0].starts_with("--peer-key-file"), "{half:?}");
    let files = ["--peer-cert-file=c", "--peer-key-file=k"];
    let config = Config::new(&settings(&with(&files))).unwrap();
    assert!(!config.peer_tls.verifies_san);
    assert_eq!(config.peer_tls.server.unwrap().authorities, None);
    let names = ["--peer-client-cert-auth", "--peer-cert-allowed-cn=x"];
    let found = problems(&with(&[files, names].concat()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|problem| problem.contains("requires --peer-trusted-ca-file")));
    let authority = [&names[..], &files, &["--peer-trusted-ca-file=a"]].concat();
    let config = Config::new(&settings(&with(&authority))).unwrap();
    assert!(config.peer_tls.verifies_san);
    let server = config.peer_tls.server.unwrap();
    assert_eq!(server.allowed, Some(Allowed::CommonNames(vec!["x".to_owned()])));
    let skips = [&authority[..], &["--peer-skip-client-san-verification"]].concat();
    assert!(!Config::new(&settings(&with(&skips))).unwrap().peer_tls.verifies_san);
    let both = [&authority[..], &["--peer-cert-allowed-hostname=b"]].concat();
    assert!(problems(&with(&both))[0].starts_with("--peer-cert-allowed-hostname"));
    // During a migration from http to https, the files are configured before the URLs change.
    let plain = [&files[..], &["--peer-client-cert-auth", "--peer-trusted-ca-file=a"]].concat();
    let config = Config::new(&settings(&plain)).unwrap();
    assert!(config.warnings[0].starts_with("--peer-trusted-ca-file"), "{:?}", config.warnings);
    assert_eq!(config.peer_tls.client.authorities, Some(PathBuf::from("a")));
}

#[test]
fn a_mix_of_members_with_and_without_tls_causes_a_warning() {
    let mixed = "--initial-cluster=default=https://a:1,b=http://b:1";
    let files = ["--peer-cert-file=c", "--peer-key-file=k"];
    let flags = [&PEERS[..], &files, &[mixed]].concat();
    let config = Config::new(&settings(&flags)).unwrap();
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("http://b:1 and https://a:1"));
    let unused = Config::new(&settings(&files)).unwrap();
    assert_eq!(unused.warnings.len(), 1, "{:?}", unused.warnings);
    let without = Config::new(&settings(&["--pre-vote=false"])).unwrap();
    assert!(without.warnings[0].starts_with("--pre-vote=false"));
}

#[test]
fn only_one_flag_names_the_founders() {
    let found = problems(&["--initial-cluster=a=http://a:1", "--discovery-srv=example.com"]);
    assert!(found.len() == 1 && found[0].contains("only one of --initial-cluster"), "{found:?}");
    assert!(problems(&["--discovery-srv-name=x"])[0].contains("--discovery-srv"));
    assert!(problems(&["--discovery-token=x"])[0].contains("--discovery-token"));
    let endpoints = "--discovery-endpoints=a:1,https://b:1";
    assert!(problems(&[endpoints])[0].starts_with("--discovery-token"));
    assert!(problems(&["--discovery-fallback=proxy"])[0].starts_with("--discovery-fallback"));
    let discovery = |more: &[&'static str]| {
        let flags = [&["--discovery-token=t", endpoints][..], more].concat();
        match Config::new(&settings(&flags)).unwrap().initial_cluster {
            InitialCluster { source: Source::Discovery(discovery), token, .. } => {
                assert_eq!(token, "t");
                discovery
            }
            other => panic!("{other:?}"),
        }
    };
    let urls = |discovery: &Discovery| {
        discovery.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(urls(&discovery(&[])), ["http://a:1", "https://b:1"]);
    let secret = discovery(&["--discovery-cacert=a", "--discovery-user=me:secret"]);
    assert_eq!(urls(&secret), ["https://a:1", "https://b:1"]);
    assert_eq!(secret.user, Some(("me".to_owned(), "secret".to_owned())));
    assert!(!format!("{secret:?}").contains("secret"));
}

#[test]
fn srv_members_need_a_certificate_for_the_domain() {
    let name = |more: &[&'static str]| {
        let flags = [&["--discovery-srv=example.com"][..], more].concat();
        Config::new(&settings(&flags)).unwrap().peer_tls.client.server_name
    };
    assert_eq!(name(&[]), Some("example.com".to_owned()));
    let files = ["--peer-cert-file=c", "--peer-key-file=k", "--peer-trusted-ca-file=a"];
    assert_eq!(name(&[&PEERS[..], &files].concat()), None);
}

#[test]
fn tracing_is_checked_only_if_it_is_on() {
    let bad =
        ["--distributed-tracing-sampling-rate=1000001", "--distributed-tracing-address=collector"];
    assert_eq!(Config::new(&settings(&bad)).unwrap().tracing, None);
    let found = problems(&[&bad[..], &["--enable-distributed-tracing"]].concat());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("from 0 to 1000000")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("localhost:4317")), "{found:?}");
}
