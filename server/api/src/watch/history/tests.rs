//! History with revisions of every size: each watcher gets its events once, in order, and those of
//! a revision in one message, whether the budget has room or not.

use std::ops::Range;

use quorate_core::base::memory::MemoryBase;
use quorate_core::store::RestoredState;
use quorate_core::watch::event::event_of;
use quorate_core::{Command, KeyRange, LogPosition, Store};
use quorate_proto::etcdserverpb::request_op::Request;
use quorate_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RequestOp, ResponseHeader, TxnRequest,
};
use quorate_proto::mvccpb as pb;
use quorate_raft::Budget;

use super::*;
use crate::watch::frame::{Events, Frame};

fn key(number: usize) -> String {
    format!("k{number:05}")
}

/// Puts keys in one revision.
fn puts(keys: Range<usize>, length: usize) -> Command {
    let puts = keys.map(|number| {
        let (key, value) = (key(number).into(), vec![b'v'; length].into());
        let put = PutRequest { key, value, ..Default::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    });
    Command::Txn(TxnRequest { success: puts.collect(), ..Default::default() })
}

/// Deletes keys in one revision.
fn delete(keys: Range<usize>) -> Command {
    let (key, range_end) = (key(keys.start).into(), key(keys.end).into());
    Command::DeleteRange(DeleteRangeRequest { key, range_end, ..Default::default() })
}

/// Revisions from 2 on: small ones, one of many versions, large values, and deletions of them.
fn view() -> View {
    let mut store = Store::new(Arc::new(MemoryBase::default()), RestoredState::default());
    let small = (0..40).map(|number| puts(number..number + 3, 10));
    let many = [puts(0..3000, 10), puts(5..6, 10), delete(0..2500), puts(5..6, 10)];
    let large = (0..8).map(|number| puts(2 * number..2 * number + 2, 200_000));
    let deletions = [delete(0..16), puts(100..101, 10), delete(200..201), delete(2500..2501)];
    let commands = small.chain(many).chain(large).chain(deletions);
    for (index, command) in (1..).zip(commands) {
        store.begin_batch();
        store.apply(LogPosition { term: 1, index }, &command.encode()).unwrap().reply.unwrap();
    }
    store.shared().view()
}

fn interests() -> Vec<Interest> {
    let ranges = [("k", "l"), ("k00000", ""), ("k02", "k03"), ("x", "y")];
    let ranges = ranges.map(|(start, end)| KeyRange::from_wire(start.into(), end.into()));
    let all = ranges.into_iter().flat_map(|range| {
        [(false, false, false), (false, false, true), (true, false, true), (false, true, false)]
            .map(|(no_put, no_delete, prev_kv)| {
                let range = range.clone();
                Interest { range, no_put, no_delete, prev_kv }
            })
    });
    all.collect()
}

/// The events that a watcher must get.
fn expected(view: &View, interest: &Interest, from: i64) -> Vec<pb::Event> {
    let records = view.history(from, view.revision(), usize::MAX).unwrap();
    let wanted = records
        .iter()
        .filter(|record| interest.range.contains(&record.key) && interest.lets_through(record));
    let event = |record: &Record| {
        let previous = interest.prev_kv.then(|| view.previous(record).unwrap()).flatten();
        event_of(record, previous.as_ref())
    };
    wanted.map(event).collect()
}

/// Reads as a stream does: what does not fit is read again with more memory, up to `most` bytes,
/// and then beyond the budget.
fn received(
    history: &History,
    view: &View,
    budget: &Budget,
    interest: &Interest,
    from: i64,
) -> Vec<Vec<pb::Event>> {
    let account = budget.account();
    let most = budget.limit() / 4;
    let mut messages = Vec::new();
    let mut reading = 0;
    let mut next = from;
    while next <= view.revision() {
        let room = account.try_acquire(reading).expect("nothing else is held");
        let exceeds = reading >= most;
        let wanted = vec![Wanted { watch_id: 1, from: next, interest: interest.clone() }];
        let read = history.portions(view, wanted, room, exceeds).unwrap();
        if read.lacks > 0 {
            assert!(read.lacks > reading && read.portions.is_empty() && budget.used() == 0);
            reading = read.lacks.min(most);
            continue;
        }
        reading = 0;
        assert!(read.reached >= next);
        for Portion { batch, from, .. } in read.portions {
            let first = batch.first_at(from);
            let events = Events::new(1, ResponseHeader::default(), batch, first);
            if events.len() > 0 {
                messages.push(events.decoded().collect());
            }
            let bytes: usize = events.frames(Some(1000)).iter().map(Frame::size).sum();
            assert!(bytes <= read.room.bytes() || bytes <= ENCODED_BYTES + KEPT_BYTES);
        }
        next = read.reached + 1;
    }
    messages
}

fn revision(event: &pb::Event) -> i64 {
    event.kv.as_ref().unwrap().mod_revision
}

#[test]
fn each_watcher_gets_its_events_once() {
    let view = view();
    for limit in [1000, 400_000, 1 << 30] {
        let budget = Budget::new(limit);
        let history = History::new();
        for from in [1, 30, 42, 44, 47, view.revision()] {
            for interest in interests() {
                let messages = received(&history, &view, &budget, &interest, from);
                for pair in messages.windows(2) {
                    let [last, first] = [pair[0].last().unwrap(), &pair[1][0]].map(revision);
                    assert!(last < first, "revision {first} comes in two messages");
                }
                assert_eq!(messages.concat(), expected(&view, &interest, from), "{interest:?}");
            }
        }
        assert_eq!(budget.used(), 0);
    }
}
