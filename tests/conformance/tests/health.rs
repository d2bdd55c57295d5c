//! Health, as gRPC's standard service and as pages, compared with etcd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use prost::Message as _;
use quorate_proto::{etcdserverpb as pb, health};
use quorate_test_conformance::differential::Differential;
use quorate_test_conformance::raw::{Connection, call, frame};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, http};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/grpc.health.v1.Health/List";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const ALARM: &str = "/etcdserverpb.Maintenance/Alarm";
/// Names of services; the empty one is the server as a whole.
const SERVICES: [&str; 4] = ["", "etcdserverpb.KV", "grpc.health.v1.Health", "none"];

fn of(service: &str) -> health::HealthCheckRequest {
    health::HealthCheckRequest { service: service.to_owned() }
}

#[test]
fn checks_and_lists_are_answered_as_by_etcd() {
    let Some(mut differential) = Differential::start("gRPC health", &[]) else { return };
    block_on(async {
        for service in SERVICES {
            differential.compare(&format!("check {service:?}"), CHECK, &of(service)).await;
        }
        // The answers are decoded first, because Go also writes a name that is empty.
        let listed = differential.both(&Connection::request(LIST), &frame(&[])).await;
        let [ours, theirs] = listed
            .map(|answer| (answer.code.clone(), answer.decode::<health::HealthListResponse>()));
        assert_eq!(ours, theirs);
        assert_eq!(ours.1.statuses[""].status, 1, "it serves");
        differential.finish().await;
    });
}

/// The first message of a watch, which stays open.
async fn watched(server: &Server, service: &str) -> (Vec<Bytes>, Option<String>) {
    let connection = Connection::open(&server.address()).await;
    let body = frame(&of(service).encode_to_vec());
    let mut watch = connection.start(Connection::request(WATCH), body, true).await;
    assert!(watch.wait_for_messages(1).await, "{:?}", watch.so_far());
    // A call on the same connection is answered after the watch began. The watch goes on.
    connection.method(CHECK, &[of("").encode_to_vec().into()]).await.assert_ok();
    (watch.take_messages(), watch.so_far().code.clone())
}

#[test]
fn watches_begin_as_in_etcd_and_tell_the_end() {
    let Some(mut pair) = ServerPair::start("watches of gRPC health", &[]) else { return };
    block_on(async {
        for service in SERVICES {
            let ours = watched(&pair.quorate, service).await;
            let theirs = watched(&pair.etcd, service).await;
            assert_eq!(ours, theirs, "{service:?}");
            assert_eq!((ours.0.len(), ours.1), (1, None), "{service:?}");
        }
    });
    pair.assert_sound();
    let mut server = pair.quorate;
    let address = server.address();
    let said = block_on(async {
        let connection = Connection::open(&address).await;
        let body = frame(&of("").encode_to_vec());
        let mut watch = connection.start(Connection::request(WATCH), body, true).await;
        assert!(watch.wait_for_messages(1).await);
        let stopping = tokio::task::spawn_blocking(move || server.stop());
        watch.wait_for_messages(2).await;
        stopping.await.unwrap();
        watch.take_messages()
    });
    let said = said.iter().map(|said| health::HealthCheckResponse::decode(&said[..]).unwrap());
    assert_eq!(said.map(|said| said.status).collect::<Vec<_>>(), [1, 2], "it serves, then not");
}

/// Raises (1) or disarms (2) an alarm of another member, of a type.
fn alarm(pair: &ServerPair, action: i32, alarm: i32) {
    for (_, server) in pair.both() {
        call(server, ALARM, &pb::AlarmRequest { action, member_id: 5, alarm }).assert_ok();
    }
}

const PAGES: [&str; 25] = [
    "/health",
    "/health?serializable=true",
    "/health?serializable=false",
    "/health?exclude=NOSPACE",
    "/health?exclude=NOSPACE&exclude=CORRUPT",
    "/health/",
    "/livez",
    "/livez?verbose",
    "/livez?exclude=serializable_read",
    "/livez?exclude=none",
    "/livez/serializable_read",
    "/livez/linearizable_read",
    "/livez/none",
    "/livez/none?exclude=none",
    "/livez/",
    "/livezx",
    "/livez/serializable_read?exclude=serializable_read",
    "/livez/serializable_read/",
    "/readyz",
    "/readyz?verbose=true",
    "/readyz?verbose&exclude=data_corruption",
    "/readyz/data_corruption",
    "/readyz/linearizable_read?verbose",
    "/readyz/non_learner",
    "/readyz/none",
];

/// Compares the status, the content type and the lines of all pages. The checks in etcd's pages
/// have no order.
fn compare_pages(pair: &ServerPair, when: &str) {
    let read = PAGES.map(|page| ("GET", page));
    let posted = PAGES.map(|page| ("POST", page));
    for (method, page) in read.into_iter().chain(posted) {
        let [ours, theirs] = pair.both().map(|(_, server)| {
            let (head, body) = http::ask(&server.address(), method, page).unwrap();
            let lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
            let kind = lines.iter().find(|line| line.starts_with("content-type:")).cloned();
            let status = head.split_whitespace().nth(1).unwrap().to_owned();
            let mut said: Vec<String> = body.lines().map(str::to_owned).collect();
            said.sort_unstable();
            (status, kind, said)
        });
        assert_eq!(ours, theirs, "{method} {page}, {when}");
    }
}

#[test]
fn pages_are_those_of_etcd() {
    let Some(mut pair) = ServerPair::start("health pages", &[]) else { return };
    compare_pages(&pair, "healthy");
    for (kind, name) in [(1, "NOSPACE"), (2, "CORRUPT")] {
        alarm(&pair, 1, kind);
        compare_pages(&pair, name);
        alarm(&pair, 2, kind);
    }
    compare_pages(&pair, "healthy again");
    pair.assert_sound();
}
