//! Malformed watch requests get etcd's answers, and break nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::{Call, Connection, frame};
use quorate_test_conformance::server_pair::ServerPair;
use quorate_test_support::block_on;
use quorate_test_support::server::Server;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const PUT: &str = "/etcdserverpb.KV/Put";
const COMPACT: &str = "/etcdserverpb.KV/Compact";

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A request on a stream, and the number of answers to await before the next request.
type Step = (Bytes, usize);

fn create(change: impl FnOnce(&mut pb::WatchCreateRequest)) -> Bytes {
    let mut create = pb::WatchCreateRequest { key: "a".into(), ..Default::default() };
    change(&mut create);
    request(RequestUnion::CreateRequest(create))
}

fn cancel(watch_id: i64) -> Bytes {
    request(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }))
}

fn progress() -> Bytes {
    request(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))
}

fn request(union: RequestUnion) -> Bytes {
    frame(&pb::WatchRequest { request_union: Some(union) }.encode_to_vec())
}

/// The last request of every case creates a watcher. A superfluous answer shows, because it arrives
/// before this watcher's.
fn last() -> Step {
    (create(|c| (c.watch_id, c.key) = (7777, "nothing".into())), 1)
}

/// A name, and the requests on one stream.
type Case = (&'static str, Vec<Step>);

fn ranges_and_starts() -> Vec<Case> {
    vec![
        ("nothing asked", vec![(frame(&[]), 0)]),
        ("all keys", vec![(create(|c| c.key = Bytes::new()), 1)]),
        (
            "an end without a start",
            vec![(
                create(|c| {
                    c.key = Bytes::new();
                    c.range_end = "z".into()
                }),
                1,
            )],
        ),
        (
            "an end before the start",
            vec![(create(|c| (c.key, c.range_end) = ("z".into(), "a".into())), 1)],
        ),
        ("an end at the start", vec![(create(|c| c.range_end = "a".into()), 1)]),
        ("from a key on", vec![(create(|c| c.range_end = "\0".into()), 1)]),
        ("the smallest start", vec![(create(|c| c.start_revision = i64::MIN), 1)]),
        ("a negative start", vec![(create(|c| c.start_revision = -1), 1)]),
        ("a start in the future", vec![(create(|c| c.start_revision = 1000), 1), (progress(), 0)]),
        ("the largest start", vec![(create(|c| c.start_revision = i64::MAX), 1)]),
        // Created, then cancelled by the server as compacted. One cancel request is answered, a
        // second is not.
        (
            "a compacted start",
            vec![(create(|c| c.start_revision = 2), 2), (cancel(0), 1), (cancel(0), 0)],
        ),
        ("the compacted revision", vec![(create(|c| c.start_revision = 4), 2)]),
        (
            "two mistakes",
            vec![(
                create(|c| {
                    c.start_revision = -1;
                    c.range_end = "A".into()
                }),
                1,
            )],
        ),
    ]
}

fn filters_and_reports() -> Vec<Case> {
    vec![
        ("unknown filters", vec![(create(|c| c.filters = vec![2, -1, 99, i32::MAX]), 1)]),
        (
            "everything filtered",
            vec![(
                create(|c| {
                    c.filters = vec![0, 1, 0, 1];
                    c.start_revision = 5
                }),
                1,
            )],
        ),
        (
            "no puts",
            vec![(
                create(|c| {
                    c.filters = vec![0];
                    c.start_revision = 5
                }),
                1,
            )],
        ),
        ("a cancel of nothing", vec![(cancel(5), 0), (cancel(-1), 0), (cancel(0), 0)]),
        ("a report on nothing", vec![(progress(), 0)]),
        ("reports", vec![(create(|_| {}), 1), (progress(), 1), (progress(), 1)]),
    ]
}

fn ids() -> Vec<Case> {
    let mut cases = vec![
        ("an id", vec![(create(|c| c.watch_id = 5), 1), (cancel(5), 1), (cancel(5), 0)]),
        ("an id again", vec![(create(|c| c.watch_id = 5), 1), (create(|c| c.watch_id = 5), 1)]),
        (
            "an id again when it is free",
            vec![(create(|c| c.watch_id = 5), 1), (cancel(5), 1), (create(|c| c.watch_id = 5), 1)],
        ),
        (
            "ids that the server chooses around others",
            vec![
                (create(|c| c.watch_id = 1), 1),
                (create(|_| {}), 1),
                (create(|_| {}), 1),
                (create(|c| c.watch_id = 2), 1),
                (create(|_| {}), 1),
            ],
        ),
    ];
    for id in [-1, -2, i64::MIN, i64::MAX] {
        let steps = vec![
            (create(|c| c.watch_id = id), 1),
            (create(|c| c.watch_id = id), 1),
            (cancel(id), 1),
        ];
        cases.push(("an odd id", steps));
    }
    cases
}

/// The server's answers to `steps` on a new stream.
async fn answers(server: &Server, steps: &[Step]) -> Vec<pb::WatchResponse> {
    let connection = Connection::open(&server.address()).await;
    let mut call: Call = connection.start(Connection::request(WATCH), Bytes::new(), false).await;
    let mut expected = 0;
    for (request, count) in steps {
        call.send(request.clone(), false);
        expected += count;
        let came = call.wait_for_messages(expected);
        // A missing answer shows in the comparison.
        let _in_time = tokio::time::timeout(ANSWER_WITHIN, came).await;
    }
    let messages = call.so_far().messages();
    messages.into_iter().map(|m| pb::WatchResponse::decode(m).unwrap()).collect()
}

async fn compare(pair: &ServerPair) -> Vec<String> {
    let mut differences = Vec::new();
    for (what, mut steps) in [ranges_and_starts(), filters_and_reports(), ids()].concat() {
        steps.push(last());
        let [(_, quorate), (_, etcd)] = pair.both();
        let (quorate, etcd) = tokio::join!(answers(quorate, &steps), answers(etcd, &steps));
        if quorate != etcd {
            differences.push(format!("{what}\n  quorate: {quorate:?}\n  etcd:    {etcd:?}\n"));
        }
    }
    differences
}

#[test]
fn bad_watch_requests_are_answered_as_by_etcd() {
    let Some(mut pair) = ServerPair::start("bad input, watches", &[]) else { return };
    let differences = block_on(async {
        for (_, server) in pair.both() {
            let connection = Connection::open(&server.address()).await;
            for value in ["1", "2", "3", "4"] {
                let put =
                    pb::PutRequest { key: "a".into(), value: value.into(), ..Default::default() };
                let answer = connection.method(PUT, &[put.encode_to_vec().into()]).await;
                answer.assert_ok();
            }
            let compact = pb::CompactionRequest { revision: 4, physical: true };
            connection.method(COMPACT, &[compact.encode_to_vec().into()]).await;
        }
        compare(&pair).await
    });
    pair.assert_sound();
    assert!(differences.is_empty(), "{} differ:\n\n{}", differences.len(), differences.join("\n"));
}
