//! Settings for observing: durations of calls, slow requests, the pages for debugging.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::http;
use quorate_test_support::server::Server;
use quorate_test_support::{program, wait};

/// How long a line may take to reach the log.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// etcd's pages of profiles.
const PROFILES: [&str; 9] = [
    "block",
    "cmdline",
    "goroutine",
    "heap",
    "mutex",
    "profile",
    "symbol",
    "threadcreate",
    "trace",
];

fn put(server: &Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = KvClient::new(quorate_test_support::client::channel(&server.url()));
        let put = pb::PutRequest { key: "k".into(), ..Default::default() };
        client.put(put).await.unwrap();
    });
}

/// The series of the durations of calls, without their values, after a put.
fn durations(program: &Path, detail: &str) -> (BTreeSet<String>, Server) {
    let server = Server::start_new(program, &["--metrics", detail]);
    put(&server);
    let page = http::get(&server.address(), "/metrics").unwrap();
    let lines = page.lines().filter(|line| line.starts_with("grpc_server_handling_seconds"));
    let series = lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned());
    (series.collect(), server)
}

#[test]
fn durations_of_calls_are_measured_on_request() {
    let (none, _) = durations(&program::quorate(), "basic");
    assert_eq!(none, BTreeSet::new());
    let (ours, server) = durations(&program::quorate(), "extensive");
    let page = http::get(&server.address(), "/metrics").unwrap();
    let puts = "grpc_server_handling_seconds_count{grpc_method=\"Put\",\
                grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1";
    assert!(page.contains(puts), "{page}");
    let Some(etcd) = program::etcd("durations of calls", "etcd-3.7") else { return };
    let (theirs, _) = durations(&etcd, "extensive");
    // etcd makes the series of these services at their first calls.
    let is_later =
        |series: &String| ["v3electionpb", "v3lockpb"].iter().any(|of| series.contains(of));
    let others: Vec<&String> =
        ours.difference(&theirs).filter(|series| !is_later(series)).collect();
    assert!(others.is_empty(), "not in etcd: {others:#?}");
}

#[test]
fn slow_requests_are_logged() {
    let flags = ["--warning-unary-request-duration=1ns", "--warning-apply-duration=1ns"];
    let server = Server::start_new(&program::quorate(), &flags);
    put(&server);
    for part in ["\"request took too long\"", "etcdserverpb.KV/Put", "apply request took too long"]
    {
        // Another thread of the server writes the log, perhaps later.
        let is_there = wait::within(LOGGED_WITHIN, || server.log().contains(part).then_some(()));
        assert!(is_there.is_some(), "{part} is not in\n{}", server.log());
    }
    let server = Server::start_new(&program::quorate(), &["--warning-apply-duration=1h"]);
    put(&server);
    assert!(!server.log().contains("apply request took too long"));
}

#[test]
fn the_debug_page_is_served_on_request() {
    let ask = |server: &Server, path: &str| {
        let (head, body) = http::ask(&server.address(), "GET", path).unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let server = Server::start_new(&program::quorate(), &[]);
    let not_found = |text: &str| ("404".to_owned(), text.to_owned());
    assert_eq!(ask(&server, "/debug/pprof/"), not_found("404 page not found\n"));
    assert_eq!(ask(&server, "/debug/pprof/heap"), not_found("404 page not found\n"));
    let server = Server::start_new(&program::quorate(), &["--enable-pprof"]);
    let (code, body) = ask(&server, "/debug/pprof/");
    assert_eq!(code, "200");
    assert!(body.contains("Threads:") && body.contains("Tasks:"), "{body}");
    for name in PROFILES {
        let (code, body) = ask(&server, &format!("/debug/pprof/{name}"));
        assert_eq!(code, "404", "{name}");
        assert!(body.contains("no profiles of Go. Use `perf record`"), "{name}: {body}");
    }
}

#[test]
fn pages_of_traces_say_where_slow_requests_are() {
    let server = Server::start_new(&program::quorate(), &["--log-level=debug"]);
    for path in ["/debug/requests", "/debug/events"] {
        let (head, body) = http::ask(&server.address(), "GET", path).unwrap();
        assert!(head.contains(" 404 "), "{head}");
        assert!(body.contains("--warning-unary-request-duration"), "{body}");
    }
}
