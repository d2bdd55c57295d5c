//! Correct histories, each corrupted in one place.

use std::mem::swap;

use quorate_proto::mvccpb::Event;

use super::rich;
use crate::checker::{Checker, Rule};
use crate::history::{History, Observed, Operation, Outcome, Request, Response};

/// The places of the operations in the history, named with the revisions that they write.
const PUT_A_2: usize = 0;
const PUT_B_3: usize = 1;
const GET_A: usize = 2;
const PUT_A_4: usize = 3;
const SWAP_5: usize = 4;
const SWAP_FAILED: usize = 5;
const GRANT: usize = 6;
const PUT_L_6: usize = 7;
const TIME_TO_LIVE: usize = 8;
const DELETE_B_7: usize = 9;
const DELETE_NOTHING: usize = 10;
const LOST_C_8: usize = 11;
const LOST_D: usize = 12;
const LOST_DELETE_A_9: usize = 13;
const STATUS: usize = 14;
const PUT_A_10: usize = 15;
const LIST: usize = 16;

/// Leaves a single read, invoked after the last watch message and answered from an early revision.
fn leave_a_late_read(history: &mut History) {
    let heard = history.observations.last().unwrap().at;
    let mut late = history.operations[GET_A].clone();
    (late.invoked, late.returned) = (heard, history.audit.since);
    late.invoked.order += 1;
    history.operations = vec![late];
    history.audit.events.clear();
}

/// A name, the violated rule, and a change that corrupts a history.
type Fault = (&'static str, Rule, fn(&mut History));

const WRITES: &[Fault] = &[
    ("the last write is lost", Rule::LostWrite, |history| {
        forget_from(history, 10);
    }),
    ("a later write took the place of a lost one", Rule::LostWrite, |history| {
        // The write at revision 10 now belongs to another operation.
        let other = value_of(&history.operations[LOST_D]);
        last_event(history).kv.as_mut().unwrap().value = other;
        last_event(history).kv.as_mut().unwrap().key = "d".into();
        last_event(history).kv.as_mut().unwrap().create_revision = 10;
        forget_watch(history);
    }),
    ("a revision is missing", Rule::BrokenEvents, |history| {
        history.audit.events.remove(3);
    }),
    ("a write is there twice", Rule::BrokenEvents, |history| {
        let twice = history.audit.events[3].clone();
        history.audit.events.insert(3, twice);
    }),
    ("a refused write happened", Rule::MisplacedWrite, |history| {
        history.operations[LOST_C_8].outcome =
            Outcome::Refused(tonic::Code::NotFound, "etcdserver: no".to_owned());
    }),
    ("a write that was not sent was applied", Rule::MisplacedWrite, |history| {
        history.operations[LOST_C_8].outcome = Outcome::NotSent("refused".to_owned());
    }),
    ("a deletion that was not sent was applied", Rule::NeverRequested, |history| {
        history.operations[LOST_DELETE_A_9].outcome = Outcome::NotSent("refused".to_owned());
    }),
    ("no operation requested it", Rule::NeverRequested, |history| {
        history.operations.remove(LOST_C_8);
    }),
    ("two were acknowledged with one revision", Rule::SharedRevision, |history| {
        let header = *header_of(&mut history.operations[PUT_A_2]);
        *header_of(&mut history.operations[PUT_B_3]) = header;
    }),
    ("the value is another", Rule::WrongEffect, |history| {
        let value = &mut last_event(history).kv.as_mut().unwrap().value;
        *value = [value, b"x".as_slice()].concat().into();
        forget_watch(history);
    }),
    ("two writes changed places", Rule::LostWrite, |history| {
        let (first, second) = history.operations.split_at_mut(PUT_B_3);
        swap(header_of(&mut first[PUT_A_2]), header_of(&mut second[0]));
    }),
    ("real time is not kept", Rule::WriteOutOfOrder, |history| {
        // Revision 3 was acknowledged before the request of revision 2.
        let (first, second) = history.operations.split_at_mut(PUT_B_3);
        swap(&mut first[PUT_A_2].invoked, &mut second[0].invoked);
        swap(&mut first[PUT_A_2].returned, &mut second[0].returned);
    }),
    ("an unknown write happened before it was asked for", Rule::WriteOutOfOrder, |history| {
        history.operations[LOST_C_8].invoked = history.operations[PUT_A_10].returned;
        forget_watch(history);
    }),
];

const READS: &[Fault] = &[
    ("a stale read", Rule::StaleRead, |history| {
        let old = history.operations[GET_A].outcome.clone();
        history.operations[LIST].outcome = old;
    }),
    ("a stale read under a new header", Rule::WrongAnswer, |history| {
        let old = range_of(&mut history.operations[GET_A]).kvs.clone();
        range_of(&mut history.operations[LIST]).kvs = old;
    }),
    ("a key is missing", Rule::WrongAnswer, |history| {
        range_of(&mut history.operations[LIST]).kvs.remove(0);
    }),
    ("a key is there twice", Rule::WrongAnswer, |history| {
        let kvs = &mut range_of(&mut history.operations[LIST]).kvs;
        kvs.insert(0, kvs[0].clone());
    }),
    ("the count is wrong", Rule::WrongAnswer, |history| {
        range_of(&mut history.operations[LIST]).count += 1;
    }),
    ("a version is wrong", Rule::WrongAnswer, |history| {
        range_of(&mut history.operations[LIST]).kvs[0].version += 1;
    }),
    ("the value before is wrong", Rule::WrongAnswer, |history| {
        if let Outcome::Answered(Response::Put(put)) = &mut history.operations[PUT_A_4].outcome {
            put.prev_kv = None;
        }
    }),
    ("the wrong branch was taken", Rule::WrongAnswer, |history| {
        if let Outcome::Answered(Response::Txn(txn)) = &mut history.operations[SWAP_FAILED].outcome
        {
            txn.succeeded = true;
        }
    }),
    ("a transaction claims to have written", Rule::SharedRevision, |history| {
        let outcome = history.operations[SWAP_5].outcome.clone();
        history.operations[SWAP_FAILED].outcome = outcome;
    }),
    ("a deletion claims to have deleted", Rule::SharedRevision, |history| {
        let response = history.operations[DELETE_B_7].outcome.clone();
        history.operations[DELETE_NOTHING].outcome = response;
    }),
    ("a deletion tells of fewer keys", Rule::WrongAnswer, |history| {
        let response = &mut history.operations[DELETE_B_7].outcome;
        if let Outcome::Answered(Response::DeleteRange(delete)) = response {
            delete.prev_kvs.clear();
        }
    }),
    ("a later revision was seen than there is", Rule::LostWrite, |history| {
        header_of(&mut history.operations[LIST]).revision += 5;
        // No response comes after it.
        history.operations.truncate(LIST + 1);
    }),
    ("the revision moved back", Rule::MovedBack, |history| {
        header_of(&mut history.operations[STATUS]).revision = 5;
    }),
    ("the member is another", Rule::WrongIdentity, |history| {
        header_of(&mut history.operations[LIST]).member_id += 1;
    }),
    ("the term moved back", Rule::MovedBack, |history| {
        header_of(&mut history.operations[STATUS]).raft_term = 1;
    }),
    ("the index moved back", Rule::MovedBack, |history| {
        let mut later = history.operations[STATUS].clone();
        (later.invoked, later.returned) = (history.audit.since, history.audit.until);
        header_of(&mut later).revision = 10;
        if let Outcome::Answered(Response::Status(status)) = &mut later.outcome {
            status.raft_applied_index -= 1;
        }
        history.operations.push(later);
    }),
];

const LEASES: &[Fault] = &[
    ("a lease is lost", Rule::WrongLease, |history| {
        for operation in &mut history.operations {
            if let Outcome::Answered(Response::LeaseLeases(list)) = &mut operation.outcome {
                list.leases.clear();
            }
        }
    }),
    ("a lease has lost its time", Rule::WrongLease, |history| {
        if let Outcome::Answered(Response::LeaseTimeToLive(time)) =
            &mut history.operations[TIME_TO_LIVE].outcome
        {
            (time.ttl, time.granted_ttl) = (-1, 0);
        }
    }),
    ("a lease has another TTL", Rule::WrongLease, |history| {
        if let Outcome::Answered(Response::LeaseTimeToLive(time)) =
            &mut history.operations[TIME_TO_LIVE].outcome
        {
            time.granted_ttl += 1;
        }
    }),
    ("a lease has lost its key", Rule::WrongLease, |history| {
        if let Outcome::Answered(Response::LeaseTimeToLive(time)) =
            &mut history.operations[TIME_TO_LIVE].outcome
        {
            time.keys.clear();
        }
    }),
    ("the lease was never granted", Rule::WrongLease, |history| {
        history.operations.remove(GRANT);
    }),
    ("an acknowledged grant was never there", Rule::WrongLease, |history| {
        history.operations[PUT_L_6].outcome = Outcome::Refused(
            tonic::Code::NotFound,
            "etcdserver: requested lease not found".to_owned(),
        );
        forget_from(history, 6);
        history.operations.truncate(TIME_TO_LIVE);
    }),
];

const WATCHES: &[Fault] = &[
    ("an event is missing", Rule::WrongWatch, |history| {
        history.observations.remove(4);
    }),
    ("an event was sent twice", Rule::WrongWatch, |history| {
        let again = history.observations[4].clone();
        history.observations.insert(5, again);
    }),
    ("events changed places", Rule::WrongWatch, |history| {
        let mut late = history.observations.remove(4);
        late.at = history.observations[4].at;
        history.observations.insert(5, late);
    }),
    ("an event is another", Rule::WrongWatch, |history| {
        told(history, 4).kv.as_mut().unwrap().value = "x".into();
    }),
    ("an event lacks the value before", Rule::WrongWatch, |history| {
        told(history, 3).prev_kv = None;
    }),
    ("an event was sent that never was", Rule::LostWrite, |history| {
        forget_from(history, 10);
        // Only the watch knows revision 10.
        history.operations.truncate(PUT_A_10);
    }),
    ("progress came before the events", Rule::WrongWatch, |history| {
        let progress = history.observations.pop().unwrap();
        let place = history.observations.len() - 1;
        history.observations.insert(place, progress);
    }),
    ("progress moved back", Rule::WrongWatch, |history| {
        progress_again(history, 3);
    }),
    ("progress came behind the events", Rule::WrongWatch, |history| {
        history.observations.pop();
        progress_again(history, 3);
    }),
    ("it was resumed somewhere else", Rule::WrongWatch, |history| {
        let mut again = history.observations[0].clone();
        if let Observed::Requested(create) = &mut again.what {
            create.start_revision = 5;
        }
        history.observations.push(again);
    }),
    ("it was cancelled", Rule::WrongWatch, |history| {
        if let Observed::Received(response) = &mut history.observations[2].what {
            response.canceled = true;
        }
    }),
    ("a read came after progress and missed it", Rule::StaleRead, |history| {
        // Only the progress of the watch names revision 10.
        history.observations.retain(|observation| match &observation.what {
            Observed::Received(response) => response.events.is_empty(),
            Observed::Requested(_) => true,
        });
        leave_a_late_read(history);
    }),
    ("a read came after an event and missed it", Rule::StaleRead, |history| {
        leave_a_late_read(history);
    }),
];

#[test]
fn every_fault_is_found() {
    for (name, rule, spoil) in [WRITES, READS, LEASES, WATCHES].concat() {
        let mut history = rich().audit();
        spoil(&mut history);
        let found = Checker::default().check(history);
        let found = found.expect_err(name);
        assert_eq!(found.rule, rule, "{name}: {found}");
    }
}

/// Appends a progress notification of `revision`.
fn progress_again(history: &mut History, revision: i64) {
    let mut again = history.observations.last().unwrap().clone();
    again.at = history.audit.since;
    if let Observed::Received(response) = &mut again.what {
        response.header.as_mut().unwrap().revision = revision;
        response.events.clear();
    }
    history.observations.push(again);
}

fn value_of(operation: &Operation) -> bytes::Bytes {
    match &operation.request {
        Request::Put(put) => put.value.clone(),
        other => panic!("{other:?} is no put"),
    }
}

fn last_event(history: &mut History) -> &mut Event {
    history.audit.events.last_mut().unwrap()
}

/// Removes the events from `revision` on from the audit.
fn forget_from(history: &mut History, revision: i64) {
    history.audit.events.retain(|event| event.kv.as_ref().unwrap().mod_revision < revision);
}

/// Removes all observations.
fn forget_watch(history: &mut History) {
    history.observations.clear();
}

fn header_of(operation: &mut Operation) -> &mut quorate_proto::etcdserverpb::ResponseHeader {
    let Outcome::Answered(response) = &mut operation.outcome else { panic!("no answer") };
    let header = match response {
        Response::Put(put) => &mut put.header,
        Response::Range(range) => &mut range.header,
        Response::Status(status) => &mut status.header,
        other => panic!("{other:?} is not among those that are spoiled"),
    };
    header.as_mut().unwrap()
}

fn range_of(operation: &mut Operation) -> &mut quorate_proto::etcdserverpb::RangeResponse {
    match &mut operation.outcome {
        Outcome::Answered(Response::Range(range)) => range,
        other => panic!("{other:?} is no range"),
    }
}

fn told(history: &mut History, place: usize) -> &mut Event {
    match &mut history.observations[place].what {
        Observed::Received(response) => &mut response.events[0],
        Observed::Requested(_) => panic!("that is the request"),
    }
}
