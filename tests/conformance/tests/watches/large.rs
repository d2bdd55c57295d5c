//! A revision with more events than the server collects for its watchers: each watcher gets its
//! events once and in order, in one message unless it allows fragments.

use std::collections::BTreeMap;

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::mvccpb::Event;
use quorate_proto::mvccpb::event::EventType;
use quorate_test_conformance::raw::{Call, Connection};
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

use super::{STANDSTILL, create, watch};

const KEYS: usize = 100_000;
/// A quarter of it is less than the events of a watcher, so that they also wait for memory.
const BUDGET: &str = "ETCD_MEMORY_BUDGET=16777216";
/// The watchers of a stream, by id.
const ALL: i64 = 1;
const WITH_PREVIOUS: i64 = 2;
const IN_FRAGMENTS: i64 = 3;
const WITHOUT_DELETIONS: i64 = 4;
const HALF: i64 = 5;
const ONE: i64 = 6;
/// The key that is put after the deletion.
const LAST: &str = "k/last";

fn key(number: usize) -> String {
    format!("k/{number:060}")
}

/// Calls a method of the KV service, and returns the revision of the answer.
async fn write(connection: &Connection, method: &str, request: Vec<u8>) -> i64 {
    let path = format!("/etcdserverpb.KV/{method}");
    let answer = connection.method(&path, &[request.into()]).await;
    answer.assert_ok();
    // The header is the first field of every answer.
    let answer: pb::CompactionResponse = answer.decode();
    answer.header.unwrap().revision
}

fn put(key: String, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.to_owned().into(), ..Default::default() }
}

async fn fill(connection: &Connection) {
    let numbers: Vec<usize> = (0..KEYS).collect();
    for numbers in numbers.chunks(100) {
        let puts = numbers.iter().map(|number| Request::RequestPut(put(key(*number), "old")));
        let success = puts.map(|put| pb::RequestOp { request: Some(put) }).collect();
        let txn = pb::TxnRequest { success, ..Default::default() };
        write(connection, "Txn", txn.encode_to_vec()).await;
    }
}

/// Opens a stream with all watchers.
async fn watch_all(connection: &Connection, start_revision: i64) -> Call {
    let one = |id: i64| {
        create(|c| {
            (c.watch_id, c.start_revision) = (id, start_revision);
            match id {
                WITH_PREVIOUS => c.prev_kv = true,
                IN_FRAGMENTS => c.fragment = true,
                WITHOUT_DELETIONS => c.filters = vec![FilterType::Nodelete as i32],
                HALF => c.key = key(KEYS / 2).into(),
                ONE => (c.key, c.range_end) = (key(7).into(), "".into()),
                _ => {}
            }
        })
    };
    let mut call = watch(connection, one(ALL)).await;
    (ALL + 1..=ONE).for_each(|id| call.send(one(id), false));
    call
}

/// The keys of the events that a watcher gets, in order.
fn expected(id: i64) -> Vec<String> {
    let deleted = match id {
        WITHOUT_DELETIONS => 0..0,
        HALF => KEYS / 2..KEYS,
        ONE => 7..8,
        _ => 0..KEYS,
    };
    let last = (id != ONE).then(|| LAST.to_owned());
    deleted.map(key).chain(last).collect()
}

/// The messages that a watcher has received.
#[derive(Default)]
struct Seen {
    keys: Vec<String>,
    /// The revision of the last message with events, and whether more of it were promised.
    last: (i64, bool),
    fragments: usize,
}

impl Seen {
    fn take(&mut self, id: i64, answer: pb::WatchResponse) {
        let first = answer.events[0].kv.as_ref().unwrap().mod_revision;
        let (last, goes_on) = self.last;
        assert!(first > last || goes_on, "watch {id}: revision {first} comes in two messages");
        for event in answer.events {
            self.keys.push(taken(id, event, &mut self.last.0));
        }
        self.last.1 = answer.fragment;
        self.fragments += usize::from(answer.fragment);
    }
}

/// Checks an event; returns its key.
fn taken(id: i64, event: Event, last: &mut i64) -> String {
    let is_deletion = event.r#type == EventType::Delete as i32;
    let kv = event.kv.unwrap();
    let key = String::from_utf8(kv.key.to_vec()).unwrap();
    assert_eq!(is_deletion, key != LAST, "watch {id}: {key}");
    let previous = event.prev_kv.map(|previous| previous.value);
    let has_previous = id == WITH_PREVIOUS && is_deletion;
    assert_eq!(previous, has_previous.then(|| "old".into()), "watch {id}: {key}");
    assert!(kv.mod_revision >= *last, "watch {id}: {key}");
    *last = kv.mod_revision;
    key
}

/// Reads the stream until each watcher has received what it wants.
async fn read_all(call: &mut Call) {
    let mut seen: BTreeMap<i64, Seen> = BTreeMap::new();
    let is_complete = |seen: &BTreeMap<i64, Seen>| {
        (ALL..=ONE).all(|id| seen.get(&id).is_some_and(|s| s.keys.len() >= expected(id).len()))
    };
    while !is_complete(&seen) {
        let came = tokio::time::timeout(STANDSTILL, call.wait_for_messages(1)).await;
        let counts: Vec<_> = seen.iter().map(|(id, seen)| (id, seen.keys.len())).collect();
        assert_eq!(came, Ok(true), "{counts:?} came, and then nothing");
        for message in call.take_messages() {
            let answer = pb::WatchResponse::decode(message).unwrap();
            assert!(!answer.canceled, "{answer:?}");
            if !answer.created {
                let id = answer.watch_id;
                seen.entry(id).or_default().take(id, answer);
            }
        }
    }
    for (id, seen) in seen {
        assert!(seen.keys == expected(id), "watch {id} has received other events");
        assert_eq!(seen.fragments > 0, id == IN_FRAGMENTS, "watch {id}");
    }
}

#[test]
fn a_large_revision_comes_once_and_whole() {
    let mut server = Server::new(&program::quorate(), &[]).with_launcher(&["env", BUDGET]);
    server.start();
    block_on(async {
        let writer = Connection::open(&server.address()).await;
        fill(&writer).await;
        let connection = Connection::open(&server.address()).await;
        let mut live = watch_all(&connection, 0).await;
        assert!(live.wait_for_messages(usize::try_from(ONE).unwrap()).await);
        let (key, range_end) = ("k/".into(), "k0".into());
        let delete = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
        let deleted = write(&writer, "DeleteRange", delete.encode_to_vec()).await;
        write(&writer, "Put", put(LAST.to_owned(), "new").encode_to_vec()).await;
        let mut late = watch_all(&connection, deleted).await;
        tokio::join!(read_all(&mut live), read_all(&mut late));
    });
}
