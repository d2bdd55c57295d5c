//! Invalid flags, variables and files are all reported, each on its own line, before the server
//! does anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use quorate_test_conformance::data_dir::{error_line, start_refused};
use quorate_test_support::certs::Pki;
use quorate_test_support::program;
use quorate_test_support::server::Server;
use tempfile::TempDir;

/// Runs the program with these flags in an empty directory, and asserts that it creates no file.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(program::quorate());
    command.args(arguments).envs(environment.iter().copied()).current_dir(&home);
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "", "errors go to the error output");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "the program has made a file");
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Flags with invalid values, and a part of the error text for each.
const BAD: &[(&str, &str, &str)] = &[
    ("listen-client-urls", "127.0.0.1:2379", "is not a URL"),
    ("listen-peer-urls", "http://example.com:2380", "must have an IP address"),
    ("listen-metrics-urls", "ftp://127.0.0.1:1", "must begin with http"),
    ("listen-client-http-urls", "http://127.0.0.1", "has no port"),
    ("advertise-client-urls", "http://127.0.0.1:99999", "65535"),
    ("initial-advertise-peer-urls", "", "is not a URL"),
    ("initial-cluster", "m1", "is not NAME=URL"),
    ("initial-cluster-state", "old", "none of new, existing"),
    ("quota-backend-bytes", "2GB", "not a number of bytes"),
    ("auto-compaction-mode", "always", "none of periodic, revision"),
    ("auto-compaction-retention", "-1", "not a time"),
    ("heartbeat-interval", "0", "positive"),
    ("election-timeout", "soon", "positive"),
    ("max-request-bytes", "-1", "positive"),
    ("snapshot-count", "many", "not a number of changes"),
    ("max-txn-ops", "-1", "0 or more"),
    ("max-concurrent-streams", "4294967296", "from 0 to 4294967295"),
    ("grpc-keepalive-interval", "5", "not a time"),
    ("watch-progress-notify-interval", "5", "not a time"),
    ("tls-min-version", "SSL3", "none of TLS1.2, TLS1.3"),
    ("tls-max-version", "TLS1.9", "none of TLS1.2, TLS1.3"),
    ("log-level", "loud", "none of debug"),
    ("log-format", "xml", "none of json"),
    ("log-outputs", "stderr,", "is empty"),
    ("logger", "printf", "none of zap"),
    ("socket-reuse-port", "perhaps", "neither true nor false"),
    ("client-cert-auth", "maybe", "neither true nor false"),
    ("status-page", "perhaps", "neither true nor false"),
];

#[test]
fn all_bad_values_are_reported_at_once() {
    let arguments: Vec<String> =
        BAD.iter().map(|(flag, value, _)| format!("--{flag}={value}")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, said) = run(&arguments, &[]);
    assert_eq!(code, Some(1), "{said}");
    for (flag, _, part) in BAD {
        let start = format!("quorate: --{flag}: ");
        let lines = said.lines().filter(|line| line.starts_with(&start));
        let lines: Vec<&str> = lines.collect();
        assert_eq!(lines.len(), 1, "--{flag}: {lines:#?}\n{said}");
        assert!(lines[0].contains(part), "{part:?} is not in {}", lines[0]);
    }
    assert_eq!(said.lines().count(), BAD.len(), "{said}");
}

#[test]
fn each_bad_value_is_reported() {
    for (flag, value, part) in BAD {
        let (code, said) = run(&[&format!("--{flag}"), value], &[]);
        let switch = ["socket-reuse-port", "client-cert-auth", "status-page"].contains(flag);
        // As in Go, a switch takes a value only after an equals sign.
        if switch {
            assert_eq!(code, Some(2), "{said}");
            continue;
        }
        assert_eq!(code, Some(1), "--{flag}: {said}");
        assert!(said.lines().any(|line| line.contains(flag) && line.contains(part)), "{said}");
    }
}

#[test]
fn contradicting_flags_are_refused() {
    for (arguments, parts) in [
        (&["--election-timeout=400"][..], &["--election-timeout: 400 ms", "--heartbeat"][..]),
        (&["--election-timeout=60000"], &["--election-timeout: ", "at most 50000 ms"]),
        (&["--listen-client-urls=http://127.0.0.1:1"], &["--advertise-client-urls: ", "required"]),
        (&["--cert-file=c"], &["--key-file: ", "required"]),
        (&["--key-file=k"], &["--cert-file: ", "required"]),
        (&["--client-cert-auth"], &["--client-cert-auth: ", "--trusted-ca-file"]),
        (&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], &["--tls-max-version: "]),
        (&["--auto-compaction-mode=revision", "--auto-compaction-retention=1h"], &["revisions"]),
    ] {
        let (code, said) = run(arguments, &[]);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}

#[test]
fn unknown_arguments_are_refused() {
    for arguments in [&["--nmae=x"][..], &["-x"], &["serve"], &["--name"]] {
        let (code, said) = run(arguments, &[]);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        let first = said.lines().next().unwrap();
        assert!(first.starts_with("error: "), "{first}");
        assert!(first.contains(arguments[0].split('=').next().unwrap()), "{first}");
    }
}

#[test]
fn variables_are_checked_like_flags() {
    let (code, said) = run(&["--name=a"], &[("ETCD_NAME", "b"), ("ETCD_MAX_TXN_OPS", "many")]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--name and the variable ETCD_NAME are both set"), "{said}");
    let (code, said) = run(&[], &[("ETCD_MAX_TXN_OPS", "many"), ("ETCD_LOG_LEVEL", "loud")]);
    assert_eq!(code, Some(1));
    assert!(said.contains("--max-txn-ops: ") && said.contains("--log-level: "), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// A server with these TLS files.
fn with_tls(home: &Path, files: [&Path; 3]) -> Server {
    let [certificate, key, authority] = files.map(|path| path.to_str().unwrap());
    let flags = ["--cert-file", certificate, "--key-file", key, "--trusted-ca-file", authority];
    Server::in_folder(&program::quorate(), home, &flags).with_tls()
}

#[test]
fn bad_certificates_are_refused() {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(&home.path().join("pki"));
    let other = Pki::new(&home.path().join("other"));
    let [certificate, key, authority] = ["server.crt", "server.key", "ca.crt"].map(|n| pki.path(n));
    let none = home.path().join("none");
    let empty = home.path().join("empty");
    fs::write(&empty, "").unwrap();
    let noise = home.path().join("noise");
    fs::write(&noise, "-----BEGIN CERTIFICATE-----\nnonsense!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let wrong = home.path().join("wrong");
    fs::write(&wrong, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let folder = home.path().join("pki");
    let others = other.path("server.key");
    let cases: [([&Path; 3], &str, &Path); 11] = [
        ([&none, &key, &authority], "--cert-file", &none),
        ([&empty, &key, &authority], "--cert-file", &empty),
        ([&noise, &key, &authority], "--cert-file", &noise),
        ([&wrong, &key, &authority], "--cert-file", &wrong),
        ([&folder, &key, &authority], "--cert-file", &folder),
        ([&key, &key, &authority], "--cert-file", &key),
        ([&certificate, &none, &authority], "--key-file", &none),
        ([&certificate, &certificate, &authority], "--key-file", &certificate),
        ([&certificate, &others, &authority], "--cert-file", &certificate),
        ([&certificate, &key, &none], "--trusted-ca-file", &none),
        ([&certificate, &key, &empty], "--trusted-ca-file", &empty),
    ];
    for (files, flag, path) in cases {
        let mut server = with_tls(&home.path().join("server"), files);
        let said = start_refused(&mut server);
        assert!(said.contains(flag), "{flag}: {said}");
        assert!(said.contains(path.to_str().unwrap()), "{}: {said}", path.display());
        assert!(!server.data_dir().exists(), "the refused server has made its data directory");
    }
    let mut server = with_tls(&home.path().join("server"), [&certificate, &key, &authority]);
    server.start();
}

#[test]
fn an_unwritable_log_output_is_refused() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("none/log");
    let output = path.to_str().unwrap();
    let flags = ["--log-outputs", output];
    let mut server = Server::in_folder(&program::quorate(), &home.path().join("server"), &flags);
    let end = server.start_or_end();
    assert_eq!(end.and_then(|end| end.code()), Some(1));
    let said = error_line(&server);
    assert!(said.contains("--log-outputs") && said.contains(output), "{said}");
}

#[test]
fn an_invalid_initial_cluster_is_refused() {
    let home = TempDir::new().unwrap();
    for (flags, parts) in [
        (&["--initial-cluster=other=http://127.0.0.1:1"][..], &["--initial-cluster", "m1"][..]),
        (&["--initial-cluster=m1=http://127.0.0.1:1"], &["--initial-advertise-peer-urls", "equal"]),
        (&["--initial-cluster-state=existing"], &["--initial-cluster-state", "new"]),
    ] {
        let mut server = Server::in_folder(&program::quorate(), &home.path().join("server"), flags);
        let end = server.start_or_end();
        assert_eq!(end.and_then(|end| end.code()), Some(1), "{flags:?}");
        let said = error_line(&server);
        server.clear_log();
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    }
}
