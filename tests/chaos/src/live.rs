//! A cluster whose members are added, removed, restarted or killed while clients work.
//!
//! Clients know all members and turn to another one when theirs does not answer. Watches stay open
//! from the first revision to the last. When the clients have stopped, an audit reads everything
//! that each member holds, and the checker proves that it agrees with the history of the clients.

pub mod availability;
mod balanced_client;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_proto::etcdserverpb::{CompactionRequest, HashKvRequest, PutRequest, RangeRequest};
use quorate_proto::mvccpb::Event;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::{http, wait};
use tokio::runtime::Runtime;

use self::balanced_client::BalancedClient;
use crate::campaign::events;
use crate::checker::{Checker, Tally};
use crate::history::{Audit, Clock, History, Moment, Operation, Request, Response};
use crate::seed::Seed;
use crate::workload::client::Client;
use crate::workload::endpoints::{Address, Endpoints};
use crate::workload::load::Load;
use crate::workload::traffic::{FILLING, LASTING, Profile, Traffic, shared_key};
use crate::workload::value::value;
use crate::workload::watcher::Watcher;
use crate::workload::watches::{Watches, lasting_interests};

/// Concurrent clients.
const CLIENTS: usize = 6;
/// The time between two requests of one client: it bounds how many operations are kept until the
/// next check.
const INTERVAL: Duration = Duration::from_millis(4);
/// The client number of the audit.
const AUDITOR: u64 = 0;
/// How long a member may take to start: another connection can hold its port for a while.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long the awaited number of acknowledged writes may take.
const WRITES_WITHIN: Duration = Duration::from_secs(60);
/// How long a member may take to catch up with the others.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of values in the model above which history is compacted.
const MODEL_BYTES_MAX: usize = 64 << 20;
/// Writes after which a member has flushed and dropped the beginning of its log.
const FILLING_WRITES: usize = 8000;
/// The length of the values that the audit writes.
const VALUE_BYTES: usize = 16;

/// The exit status of a member that was removed.
const REMOVED: i32 = 10;

/// How a member is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddAs {
    /// As a voter from the start, as etcd's guides once advised.
    Voter,
    /// As a learner, which is promoted when it has caught up.
    Learner,
}

/// A cluster under load.
pub struct LiveCluster {
    cluster: Cluster,
    runtime: Runtime,
    clock: Clock,
    checker: Checker,
    endpoints: Endpoints,
    /// The numbers of the current members, by place. A new member in an old place gets a new
    /// number.
    numbers: BTreeMap<usize, usize>,
    number: usize,
    traffics: Vec<Traffic>,
    watches: Watches,
    /// The running clients, and when they started.
    load: Option<(Load, Moment)>,
    /// Operations of the audit since the last check.
    asked: Vec<Operation>,
}

impl LiveCluster {
    /// A new cluster of `size` members that is ready; its clients do not run yet.
    ///
    /// # Panics
    /// When the cluster does not become ready.
    pub fn new(program: &Path, size: usize, seed: Seed) -> Self {
        let cluster = Cluster::start_new(program, size, &[]);
        let runtime = crate::workload::runtime();
        let clock = Clock::new();
        let endpoints = Endpoints::default();
        let numbers: BTreeMap<usize, usize> = (0..size).map(|place| (place, place + 1)).collect();
        for (place, number) in &numbers {
            endpoints.insert(*number, &cluster.members[*place].url());
        }
        let known = endpoints.clone();
        let watches = Watches::keep(runtime.handle(), move |last| known.next(last));
        for (place, (number, interest)) in (1..).zip(lasting_interests()).enumerate() {
            // Each watch at another member, if there are enough.
            watches.add(Watcher::new(number, interest, &clock), place);
        }
        let traffics = (1..=CLIENTS).map(|number| Traffic::new(seed.rng(number as u64)));
        Self {
            cluster,
            runtime,
            clock,
            checker: Checker::default(),
            endpoints,
            numbers,
            number: size,
            traffics: traffics.collect(),
            watches,
            load: None,
            asked: Vec::new(),
        }
    }

    /// Starts the clients.
    pub fn start_clients(&mut self) {
        self.start_clients_with(LASTING);
    }

    /// Lets the clients write so much that the log no longer starts at its first entry.
    ///
    /// # Panics
    /// When the writes take too long, or on a violation.
    pub fn fill_log(&mut self) {
        self.start_clients_with(FILLING);
        self.await_writes(FILLING_WRITES);
        self.stop_clients();
    }

    fn start_clients_with(&mut self, profile: Profile) {
        let since = self.clock.now();
        let mut load = Load::with_interval(INTERVAL);
        for (number, traffic) in (1..).zip(std::mem::take(&mut self.traffics)) {
            let client = BalancedClient::new(number, &self.endpoints, &self.clock);
            load.add(self.runtime.handle(), client, traffic, profile);
        }
        self.load = Some((load, since));
    }

    /// Waits until `count` more writes were acknowledged.
    ///
    /// # Panics
    /// When that takes too long, or the clients do not run.
    pub fn await_writes(&self, count: usize) {
        let (load, _) = self.load.as_ref().expect("the clients run");
        let before = load.written();
        wait::until("writes", WRITES_WITHIN, || (load.written() >= before + count).then_some(()));
    }

    /// Stops the clients and checks their history against the members. Returns when they started,
    /// their operations, and when they were told to stop.
    ///
    /// # Panics
    /// On a violation, with its text.
    pub fn stop_clients(&mut self) -> (Moment, Vec<Operation>, Moment) {
        let (load, since) = self.load.take().expect("the clients run");
        let until = self.clock.now();
        let (operations, traffics) = self.runtime.block_on(load.finish());
        self.traffics = traffics;
        self.check(operations.clone());
        (since, operations, until)
    }

    /// The counts of the checks.
    pub fn tally(&self) -> Tally {
        self.checker.tally()
    }

    /// The places of the members.
    pub fn places(&self) -> Vec<usize> {
        self.numbers.keys().copied().collect()
    }

    /// The place of the leader.
    ///
    /// # Panics
    /// When the members do not agree on a leader.
    pub fn leader(&self) -> usize {
        self.cluster.leader().0
    }

    /// Makes a member run another program, from its next start on.
    pub fn set_program(&mut self, place: usize, program: &Path) {
        self.cluster.members[place].set_program(program);
    }

    /// Moves the leadership to a member, unless it leads already.
    ///
    /// # Panics
    /// When the leader refuses to move it.
    pub fn lead(&self, place: usize) {
        if self.leader() != place {
            self.cluster.move_leader(place);
        }
    }

    /// The body of a page of a member.
    ///
    /// # Panics
    /// When the member does not answer.
    pub fn page(&self, place: usize, path: &str) -> String {
        let address = self.cluster.members[place].address();
        http::get(&address, path).expect("the member answers")
    }

    /// The id of a member.
    ///
    /// # Panics
    /// When the member does not answer.
    pub fn member_id(&self, place: usize) -> u64 {
        self.cluster.member_id(place)
    }

    /// Adds a member with a new data directory and waits until it has caught up.
    ///
    /// # Panics
    /// When the member does not catch up.
    pub fn add_member(&mut self, add_as: AddAs) {
        let place = self.cluster.new_place();
        self.add(place, add_as);
    }

    /// Removes a member and waits until its process has ended by itself.
    ///
    /// # Panics
    /// When the process keeps running or fails.
    pub fn remove_member(&mut self, place: usize) {
        let number = self.numbers.remove(&place).expect("it is a member");
        let by = *self.numbers.keys().next().expect("another member is left");
        self.log(&format!("removing member {number}"));
        self.cluster.remove(by, place);
        let removed = Instant::now();
        let status = self.cluster.members[place].wait_for_end();
        let log = self.cluster.members[place].log_tail();
        assert_eq!(status.code(), Some(REMOVED), "a removed member ends so: {status}\n{log}");
        let took = removed.elapsed();
        self.log(&format!("member {number} was removed, and ended {took:.1?} later"));
        self.endpoints.remove(number);
    }

    /// Replaces a member by a new one with a new data directory.
    ///
    /// # Panics
    /// When the old process does not end or the new member does not catch up.
    pub fn replace_member(&mut self, place: usize, add_as: AddAs) {
        self.remove_member(place);
        let data_dir = self.cluster.members[place].data_dir();
        fs::remove_dir_all(&data_dir).expect("it can be removed");
        self.add(place, add_as);
    }

    fn add(&mut self, place: usize, add_as: AddAs) {
        let by = *self.numbers.keys().next().expect("there are members");
        self.number += 1;
        let number = self.number;
        self.log(&format!("adding member {number}, {add_as:?}"));
        match add_as {
            AddAs::Voter => self.cluster.add_again(by, place),
            AddAs::Learner => self.cluster.add_learner(by, place),
        }
        self.start(place);
        self.numbers.insert(place, number);
        self.endpoints.insert(number, &self.cluster.members[place].url());
        if add_as == AddAs::Learner {
            self.cluster.promote(by, place);
        }
        self.catch_up();
        self.log(&format!("member {number} has what the others have"));
    }

    /// Sends SIGKILL to the leader. Returns its place and a moment right before.
    pub fn kill_leader(&mut self) -> (usize, Moment) {
        let place = self.leader();
        let moment = self.clock.now();
        self.cluster.members[place].kill();
        (place, moment)
    }

    /// Stops a member in order.
    ///
    /// # Panics
    /// When the member does not stop.
    pub fn stop(&mut self, place: usize) {
        self.log(&format!("stopping member {}", self.numbers[&place]));
        let asked = Instant::now();
        self.cluster.members[place].stop();
        self.log(&format!("it ended {:.1?} later", asked.elapsed()));
    }

    /// Restarts a member and waits until it has caught up.
    ///
    /// # Panics
    /// When the member does not catch up.
    pub fn restart(&mut self, place: usize) {
        self.start(place);
        self.catch_up();
    }

    fn start(&mut self, place: usize) {
        let member = &mut self.cluster.members[place];
        wait::until("the start of a member", START_WITHIN, || {
            if member.try_start() {
                return Some(());
            }
            // Another connection on this machine may have taken the port.
            let log = member.log_tail();
            assert!(log.contains("in use"), "it does not start:\n{log}");
            None
        });
    }

    /// Waits until every member has applied the highest index that any member has applied now.
    fn catch_up(&self) {
        let applied = |place: &usize| Some(self.cluster.try_status(*place)?.raft_applied_index);
        let now = || self.numbers.keys().filter_map(applied).max();
        let target = wait::until("a member that answers", CATCH_UP_WITHIN, now);
        wait::until("members that catch up", CATCH_UP_WITHIN, || {
            let mut all = self.numbers.keys().map(applied);
            all.all(|applied| applied >= Some(target)).then_some(())
        });
    }

    /// Audits every member and checks the history of the clients.
    fn check(&mut self, mut operations: Vec<Operation>) {
        operations.append(&mut self.asked);
        let settled = self.await_applied_everywhere(&mut operations);
        let since = self.clock.now();
        for number in self.numbers.values() {
            self.read(*number, settled, &mut operations);
        }
        // Leases still expire meanwhile: no response may have a later revision than `last`.
        let last = self.await_applied_everywhere(&mut operations);
        let proven = self.checker.model().revision();
        let mut histories: Vec<Vec<Event>> = Vec::new();
        for place in self.numbers.keys() {
            let url = self.cluster.members[*place].url();
            histories.push(self.runtime.block_on(events(&url, proven + 1, last)));
        }
        let same = histories.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(same, "members tell different histories of {proven}..={last}");
        self.watches.catch_up(last);
        let until = self.clock.now();
        let observations = self.watches.take(until);
        let events = histories.swap_remove(0);
        let audit = Audit { events, since, until };
        if let Err(violation) = self.checker.check(History { operations, observations, audit }) {
            panic!("{violation}");
        }
        self.compact();
        self.compare_hashes();
    }

    /// Waits until all members have the same compacted revision, and checks that their hashes of
    /// the last revision are equal.
    fn compare_hashes(&self) {
        let revision = self.checker.model().revision();
        let numbers: Vec<usize> = self.numbers.values().copied().collect();
        let hashes = wait::until("members that compact the same", CATCH_UP_WITHIN, || {
            let ask = |number: &usize| {
                let request = Request::HashKv(HashKvRequest { revision });
                let operation = self.ask_as(*number, self.clock.operation_id(), request);
                let Some(Response::HashKv(hash)) = operation.response() else {
                    panic!("the audit needs an answer: {operation}");
                };
                (hash.compact_revision, hash.hash)
            };
            let hashes: Vec<(i64, u32)> = numbers.iter().map(ask).collect();
            hashes.iter().all(|(compacted, _)| *compacted == hashes[0].0).then_some(hashes)
        });
        let same = hashes.iter().all(|(_, hash)| *hash == hashes[0].1);
        assert!(same, "hashes of the members at {revision} differ: {hashes:?}");
    }

    /// Waits until no earlier request can be applied any more and every member has applied all of
    /// them. Returns the last revision.
    fn await_applied_everywhere(&self, operations: &mut Vec<Operation>) -> i64 {
        let mut last = 0;
        for number in self.numbers.values() {
            // The member forwarded all earlier requests before this one.
            let id = self.clock.operation_id();
            let key = shared_key(0);
            let value = value(id, 0, VALUE_BYTES);
            let put = Request::Put(PutRequest { key, value, ..Default::default() });
            let operation = self.ask_as(*number, id, put);
            let revision = operation.revision();
            last = revision.unwrap_or_else(|| panic!("it must be answered: {operation}"));
            operations.push(operation);
        }
        wait::until("members that have the last revision", CATCH_UP_WITHIN, || {
            let reached = |place: &usize| {
                let header = self.cluster.try_status(*place)?.header?;
                (header.revision >= last).then_some(())
            };
            self.numbers.keys().all(|place| reached(place).is_some()).then_some(())
        });
        last
    }

    /// Reads the hash and all keys of a member at a revision.
    fn read(&self, number: usize, revision: i64, operations: &mut Vec<Operation>) {
        let all = Bytes::from_static(b"\0");
        let key = all.clone();
        let range_end = all;
        let range =
            RangeRequest { key, range_end, revision, serializable: true, ..Default::default() };
        for request in [Request::HashKv(HashKvRequest { revision }), Request::Range(range)] {
            let operation = self.ask_as(number, self.clock.operation_id(), request);
            assert!(operation.response().is_some(), "the audit needs an answer: {operation}");
            operations.push(operation);
        }
    }

    /// Compacts the proven history when the model is large.
    fn compact(&mut self) {
        let model = self.checker.model();
        if model.bytes() < MODEL_BYTES_MAX {
            return;
        }
        let revision = model.revision();
        let number = *self.numbers.values().next().expect("there are members");
        let request = Request::Compact(CompactionRequest { revision, physical: false });
        let operation = self.ask_as(number, self.clock.operation_id(), request);
        self.asked.push(operation);
    }

    fn ask_as(&self, number: usize, id: u64, request: Request) -> Operation {
        let Address { url, .. } = self.endpoints.find(number).expect("it is a member");
        let _entered = self.runtime.enter();
        let mut client = Client::new(AUDITOR, number, &url, &self.clock);
        self.runtime.block_on(client.ask_as(id, request))
    }

    fn log(&self, what: &str) {
        eprintln!("{:.1?}: {what}", self.clock.now().elapsed);
    }
}
