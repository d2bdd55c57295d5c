//! Watches on one stream with different start revisions: each receives every event once and in
//! order, and no progress message overtakes the events before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::raw::Connection;
use quorate_test_support::server::Server;
use quorate_test_support::{block_on, program};

use super::{STANDSTILL, create, put_all, request, watch};

const EVENTS: usize = 3000;
const WATCHES: i64 = 120;
/// Watches that are cancelled while they catch up.
const CANCELLED: i64 = 10;

/// How long to wait before progress is requested again: it is not answered while a watch is behind.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The messages received on the stream.
#[derive(Default)]
struct Seen {
    /// The next revision that each watch must receive.
    next: BTreeMap<i64, i64>,
    cancelled: BTreeSet<i64>,
    reports: usize,
}

/// The start revision of a watch.
fn start(id: i64) -> i64 {
    2 + id * 20
}

impl Seen {
    fn take(&mut self, answer: pb::WatchResponse, last: i64) {
        let revision = answer.header.unwrap().revision;
        if answer.created {
            self.next.insert(answer.watch_id, start(answer.watch_id));
        }
        if answer.canceled {
            self.cancelled.insert(answer.watch_id);
            self.next.remove(&answer.watch_id);
            return;
        }
        for event in &answer.events {
            let next = self.next.get_mut(&answer.watch_id);
            let next = next.unwrap_or_else(|| panic!("watch {} has ended", answer.watch_id));
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, *next, "{}", answer.watch_id);
            *next += 1;
        }
        if answer.watch_id == -1 {
            self.reports += 1;
            let told = self.next.iter().find(|(_, next)| **next <= revision.min(last));
            assert_eq!(told, None, "progress up to {revision} comes before events");
        }
    }

    fn is_done(&self, last: i64) -> bool {
        self.next.values().all(|next| *next > last)
            && self.next.len() + self.cancelled.len() == usize::try_from(WATCHES).unwrap()
            && self.cancelled.len() == usize::try_from(CANCELLED).unwrap()
    }
}

#[test]
fn each_watch_of_a_shared_stream_receives_its_events() {
    let server = Server::start_new(&program::quorate(), &[]);
    block_on(async {
        put_all(&server.url(), 8, EVENTS, 300).await;
        let connection = Connection::open_with_windows(&server.address(), 65_535, 1 << 20).await;
        let progress = || request(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
        let mut seen = Seen::default();
        let one = |id: i64| {
            create(|c| {
                (c.watch_id, c.start_revision) = (id, start(id));
                (c.prev_kv, c.fragment) = (id % 3 == 0, id % 5 == 0);
            })
        };
        let mut call = watch(&connection, one(1)).await;
        (2..=WATCHES).for_each(|id| {
            call.send(one(id), false);
            call.send(progress(), false);
        });
        assert!(call.wait_for_messages(1).await);
        for watch_id in 1..=CANCELLED {
            let cancel = pb::WatchCancelRequest { watch_id };
            call.send(request(RequestUnion::CancelRequest(cancel)), false);
        }
        // Writes continue while the watches catch up.
        let url = server.url();
        let more = put_all(&url, 2, EVENTS / 10, 300);
        tokio::pin!(more);
        let mut is_written = false;
        let last = i64::try_from(1 + EVENTS + EVENTS / 10).unwrap();
        let mut heard = Instant::now();
        while !is_written || !seen.is_done(last) || seen.reports == 0 {
            let came = tokio::time::timeout(ASK_AGAIN, call.wait_for_messages(1));
            tokio::select! {
                biased;
                () = &mut more, if !is_written => is_written = true,
                came = came => match came {
                    Ok(comes) => assert!(comes, "the stream has ended: {:?}", call.so_far()),
                    Err(_) => call.send(progress(), false),
                }
            }
            for message in call.take_messages() {
                heard = Instant::now();
                seen.take(pb::WatchResponse::decode(message).unwrap(), last);
            }
            assert!(heard.elapsed() < STANDSTILL, "nothing comes any more: {:?}", seen.next);
        }
    });
}
