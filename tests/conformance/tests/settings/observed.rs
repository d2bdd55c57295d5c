//! Settings of what operators observe: durations of calls, slow requests, the debug page.

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
        // A thread of its own writes the log.
        let is_there = wait::within(LOGGED_WITHIN, || server.log().contains(part).then_some(()));
        assert!(is_there.is_some(), "{part} is not in\n{}", server.log());
    }
    let server = Server::start_new(&program::quorate(), &["--warning-apply-duration=1h"]);
    put(&server);
    assert!(!server.log().contains("apply request took too long"));
}

#[test]
fn the_debug_page_is_served_on_request() {
    let status = |server: &Server| {
        let (head, body) = http::ask(&server.address(), "GET", "/debug/pprof/").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    let server = Server::start_new(&program::quorate(), &[]);
    assert_eq!(status(&server).0, "404");
    let server = Server::start_new(&program::quorate(), &["--enable-pprof"]);
    let (code, body) = status(&server);
    assert_eq!(code, "200");
    assert!(body.contains("Threads:") && body.contains("Tasks:"), "{body}");
}
