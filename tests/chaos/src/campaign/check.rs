//! The check of a round once all members are back.

use std::thread;
use std::time::Duration;

use quorate_proto::etcdserverpb::{HashKvRequest, PutRequest, RangeRequest};
use quorate_proto::mvccpb::Event;
use quorate_test_support::wait;

use super::Campaign;
use super::auditor::{self, Auditor};
use super::members::ELECT_WITHIN;
use crate::history::{Audit, History, Operation, Outcome, Request, Response};
use crate::workload::traffic::{random_interest, shared_key};
use crate::workload::value::value;
use crate::workload::watches::LASTING_WATCHES;

/// How long a first write through a member may take after recovery, on a busy machine.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait for the exit of a member that did not answer.
const END_WITHIN: Duration = Duration::from_secs(2);
/// The report on a member that ended without a signal from the campaign.
const ENDED: &str = "it has ended by itself";
/// The length of the values that [`write_through_all`](Campaign::write_through_all) writes.
const VALUE_BYTES: usize = 16;
/// How many revisions in the future a watch may start.
const FUTURE_REVISIONS: i64 = 40;
/// How long leases may take to expire at the end of a campaign.
const EXPIRE_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two lease lists meanwhile.
const EXPIRE_PAUSE: Duration = Duration::from_millis(200);

impl Campaign {
    /// Audits all members and checks the history of all clients since the last audit. Afterwards
    /// every watch has received all events.
    pub(super) fn check(&mut self, mut operations: Vec<Operation>) {
        operations.append(&mut self.pending);
        operations.extend(self.write_through_all());
        let since = self.clock.now();
        for place in 0..self.size() {
            operations.extend(self.inspect(place));
        }
        let place = self.any_place();
        let client = self.client(place);
        let url = self.cluster.members[place].url();
        let mut auditor = Auditor::new(client, &url, &self.checker);
        let known = self.known_revision();
        let (new, asked) = self.runtime.block_on(auditor.audit(since, known));
        operations.extend(asked);
        let mut events = std::mem::take(&mut self.saved);
        events.extend(new);
        let reached = last_of(&events).unwrap_or(known);
        self.watches.catch_up(reached);
        let until = self.clock.now();
        let observations = self.watches.take(until);
        self.effect.note_watches(&observations);
        let audit = Audit { events, since, until };
        let history = History { operations, observations, audit };
        if let Err(violation) = self.checker.check(history) {
            panic!("{violation}");
        }
        self.replace_watcher();
    }

    /// Writes through every member. Earlier requests of unknown outcome took the same ways, so they
    /// have ended when these writes are acknowledged.
    pub(super) fn write_through_all(&mut self) -> Vec<Operation> {
        let mut asked = Vec::new();
        for place in 0..self.size() {
            let written = wait::within(WRITTEN_WITHIN, || {
                let mut client = self.client(place);
                let id = self.clock.operation_id();
                let key = shared_key(0);
                let value = value(id, 0, VALUE_BYTES);
                let put = Request::Put(PutRequest { key, value, ..Default::default() });
                let operation = self.runtime.block_on(client.ask_as(id, put));
                let done = matches!(operation.outcome, Outcome::Answered(_));
                asked.push(operation);
                done.then_some(())
            });
            let last: &Operation = asked.last().expect("it asked at least once");
            let name = self.cluster.members[place].name();
            assert!(
                written.is_some(),
                "no write by way of {name} within {WRITTEN_WITHIN:?}: {last}"
            );
        }
        asked
    }

    /// The last revision whose events have been read.
    pub(super) fn known_revision(&self) -> i64 {
        last_of(&self.saved).unwrap_or_else(|| self.checker.model().revision())
    }

    /// Reads the events of this round so far from a member, before their compaction.
    pub(super) fn save_events(&mut self, place: usize) {
        let known = self.known_revision();
        let status = wait::until("a member that answers", ELECT_WITHIN, || self.status(place));
        let last = status.header.expect("every answer has a header").revision;
        let url = self.cluster.members[place].url();
        let events = self.runtime.block_on(auditor::events(&url, known + 1, last));
        self.saved.extend(events);
    }

    /// Reads everything that a member answers from its own state.
    fn inspect(&mut self, place: usize) -> Vec<Operation> {
        let mut client = self.client(place);
        let (key, range_end) = Self::all_keys();
        let all = RangeRequest { key, range_end, serializable: true, ..Default::default() };
        let requests = [
            Request::Status,
            Request::Range(all),
            Request::HashKv(HashKvRequest { revision: 0 }),
            Request::HashKv(HashKvRequest { revision: self.known_revision() }),
        ];
        let asked = requests.map(|request| self.runtime.block_on(client.ask(request)));
        let unanswered = asked.iter().find(|operation| operation.is_unanswered());
        if let Some(operation) = unanswered {
            let member = &mut self.cluster.members[place];
            // A connection breaks shortly before its member has ended.
            let ended = wait::within(END_WITHIN, || member.exit_status());
            let ended = ended.map_or(String::new(), |_| format!("{ENDED}:\n{}", member.log_tail()));
            panic!("every member must answer: {operation}\n{ended}");
        }
        asked.to_vec()
    }

    /// Replaces the watches of the last round by two on random keys over one stream, which start in
    /// the past or a little in the future.
    fn replace_watcher(&mut self) {
        self.watches.truncate(LASTING_WATCHES);
        let model = self.checker.model();
        let oldest = model.compacted() + 1;
        let last = model.revision();
        let interest = random_interest(&mut self.rng, oldest..=last + FUTURE_REVISIONS);
        let start = interest.start_revision;
        let beside = random_interest(&mut self.rng, start..=start);
        self.add_watcher(interest, Some(beside));
    }

    /// Rereads the whole history from every member and compares it with the model.
    pub(super) fn reread(&self) {
        let model = self.checker.model();
        let from = model.compacted() + 1;
        let to = model.revision();
        for member in &self.cluster.members {
            let events = self.runtime.block_on(auditor::events(&member.url(), from, to));
            if let Err(violation) = self.checker.check_again(&events) {
                panic!("{}: {violation}", member.name());
            }
        }
    }

    /// Waits until only leases exist that need not expire, then restarts all members in order and
    /// runs a check.
    pub(super) fn let_leases_expire(&mut self) {
        let place = self.any_place();
        let mut client = self.client(place);
        let mut asked = Vec::new();
        wait::until("leases that expire", EXPIRE_WITHIN, || {
            let operation = self.runtime.block_on(client.ask(Request::LeaseLeases));
            let Some(Response::LeaseLeases(list)) = operation.response() else {
                panic!("no list of leases: {operation}");
            };
            let may_last = |id| self.checker.may_last(id, operation.invoked);
            let is_over = list.leases.iter().all(|lease| may_last(lease.id));
            asked.push(operation);
            if !is_over {
                thread::sleep(EXPIRE_PAUSE);
            }
            is_over.then_some(())
        });
        (0..self.size()).for_each(|place| self.stop(place));
        self.start_all();
        self.check(asked);
    }

    /// Checks that all members have the same hash at the last revision.
    pub(super) fn compare_hashes(&mut self) {
        let revision = self.checker.model().revision();
        let hashes: Vec<(u32, i64)> = (0..self.size())
            .map(|place| {
                let mut client = self.client(place);
                let request = Request::HashKv(HashKvRequest { revision });
                let operation = self.runtime.block_on(client.ask(request));
                let Some(Response::HashKv(hash)) = operation.response() else {
                    panic!("no hash: {operation}");
                };
                (hash.hash, hash.compact_revision)
            })
            .collect();
        let same = hashes.iter().all(|hash| *hash == hashes[0]);
        assert!(same, "hash and compacted revision of the members differ: {hashes:?}");
    }

    /// The number of log lines with a date other than that of the first line.
    pub(super) fn wrong_times(&self, places: &[usize]) -> usize {
        let day =
            |line: &str| line.split("\"ts\":\"").nth(1).map(|ts| ts.chars().take(10).collect());
        let wrong = places.iter().map(|place| {
            let log = self.cluster.members[*place].log();
            let days: Vec<String> = log.lines().filter_map(day).collect();
            days.iter().filter(|day| **day != days[0]).count()
        });
        wrong.sum()
    }
}

/// The revision of the last event.
fn last_of(events: &[Event]) -> Option<i64> {
    events.last()?.kv.as_ref().map(|kv| kv.mod_revision)
}
