//! Long answers, which are read from the store while they are sent, show one revision.

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::mvccpb::KeyValue;
use quorate_test_conformance::raw::{Connection, frame};

use super::{PUT, RANGE, assert_bounded, everything, fill, run, start, value};

const KEYS: usize = 400;
const COUNT: i64 = 400;
const LENGTH: usize = 100_000;

async fn list(connection: &Connection, request: &pb::RangeRequest) -> pb::RangeResponse {
    let answer = connection.method(RANGE, &[request.encode_to_vec().into()]).await;
    answer.assert_ok();
    pb::RangeResponse::decode(answer.messages().remove(0)).unwrap()
}

/// The same range in small pages, at `revision`.
async fn in_pages(connection: &Connection, revision: i64) -> Vec<KeyValue> {
    let mut found: Vec<KeyValue> = Vec::new();
    loop {
        let mut page = pb::RangeRequest { limit: 7, revision, ..everything() };
        if let Some(last) = found.last() {
            page.key = [&last.key[..], &[0]].concat().into();
        }
        let page = list(connection, &page).await;
        found.extend(page.kvs);
        if !page.more {
            return found;
        }
    }
}

/// Requests a list and overwrites some of its keys while it is being sent.
async fn while_written(address: &str, request: &pb::RangeRequest) -> pb::RangeResponse {
    let reader = Connection::open(address).await;
    let writer = Connection::open(address).await;
    let body = frame(&request.encode_to_vec());
    let call = reader.start(Connection::request(RANGE), body, true).await;
    for key in 0..KEYS / 4 {
        let key = format!("key/{:08}", key * 4).into();
        let value = Bytes::from_static(b"new");
        let put = pb::PutRequest { key, value, ..Default::default() };
        writer.method(PUT, &[put.encode_to_vec().into()]).await.assert_ok();
    }
    let answer = call.end().await;
    answer.assert_ok();
    pb::RangeResponse::decode(answer.messages().remove(0)).unwrap()
}

#[test]
fn a_long_list_shows_one_revision() {
    let server = start();
    run(async {
        fill(&server, KEYS, LENGTH).await;
        let connection = Connection::open(&server.address()).await;
        let whole = while_written(&server.address(), &everything()).await;
        let revision = whole.header.unwrap().revision;
        assert_eq!((whole.kvs.len(), whole.count, whole.more), (KEYS, COUNT, false));
        assert!(whole.kvs == in_pages(&connection, revision).await, "another order or content");
        let untouched = whole.kvs.iter().enumerate().filter(|(key, _)| key % 4 != 0);
        assert!(untouched.clone().all(|(key, row)| row.value == value(key, LENGTH)));
        let sorted = pb::RangeRequest {
            revision,
            sort_order: SortOrder::Descend as i32,
            sort_target: SortTarget::Key as i32,
            limit: COUNT - 1,
            ..everything()
        };
        let sorted = while_written(&server.address(), &sorted).await;
        assert_eq!((sorted.count, sorted.more), (COUNT, true));
        let keys = |rows: &[KeyValue]| rows.iter().map(|row| row.key.clone()).collect::<Vec<_>>();
        let mut expected = keys(&in_pages(&connection, revision).await);
        expected.reverse();
        assert_eq!(keys(&sorted.kvs), expected[..KEYS - 1]);
    });
    assert_bounded(&server, "long lists");
}
