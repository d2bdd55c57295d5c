//! Work for a client that has given up is ended, and its memory is freed.

use std::time::{Duration, Instant};

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::wait;

use super::{RANGE, assert_bounded, everything, fill, run, start};

const CLIENTS: usize = 50;
const ROUNDS: usize = 8;
const DEADLINE: Duration = Duration::from_millis(200);

fn sorted() -> pb::RangeRequest {
    pb::RangeRequest {
        sort_order: SortOrder::Descend as i32,
        sort_target: SortTarget::Mod as i32,
        ..everything()
    }
}

/// Abandoned lists are not made.
#[test]
fn abandoned_lists_are_cancelled() {
    let server = start();
    run(fill(&server, 30_000, 1000));
    let healthy = HealthyClient::start(&server);
    run(async {
        let list = frame(&sorted().encode_to_vec());
        for _ in 0..ROUNDS {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                let connection = Connection::open(&server.address()).await;
                let call = connection.start(Connection::request(RANGE), list.clone(), true).await;
                clients.push((connection, call));
            }
            tokio::time::sleep(DEADLINE).await;
        }
    });
    healthy.finish("lists given up");
    // No work may be left. A few ticks are allowed for the server's own tasks.
    let busy = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let mut since = Instant::now();
    let mut ticks = busy();
    wait::until("the server rests", Duration::from_secs(5), || {
        if since.elapsed() < Duration::from_millis(300) {
            return None;
        }
        let now = busy();
        let is_resting = now - ticks < 10;
        (since, ticks) = (Instant::now(), now);
        is_resting.then_some(())
    });
    assert_bounded(&server, "lists given up");
}

/// The server, too, observes the timeout of a call.
#[test]
fn the_timeout_of_a_call_is_enforced() {
    let server = start();
    run(async {
        fill(&server, 30_000, 1000).await;
        let connection = Connection::open(&server.address()).await;
        let mut request = Connection::request(RANGE);
        request.headers_mut().insert("grpc-timeout", "1m".parse().unwrap());
        let answer = connection.call(request, frame(&sorted().encode_to_vec())).await;
        let said = (answer.code.as_deref(), answer.message.as_str());
        assert_eq!(said, (Some("4"), "context deadline exceeded"));
        let mut watch = Connection::request("/etcdserverpb.Watch/Watch");
        watch.headers_mut().insert("grpc-timeout", "50m".parse().unwrap());
        let call = connection.start(watch, frame(&[]), false).await;
        let answer = call.end().await;
        let said = (answer.code.as_deref(), answer.message.as_str());
        assert_eq!(said, (Some("4"), "context deadline exceeded"), "{:?}", answer.reset);
    });
    assert_bounded(&server, "timeouts");
}
