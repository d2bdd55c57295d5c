//! Rounds of load, fault, recovery and proof, for a cluster of one member.

mod audit;
pub mod cluster;

pub use audit::events;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use quorate_test_support::server::Server;
use quorate_test_support::wait;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;

use self::audit::Auditor;
use crate::checker::{Checker, Tally};
use crate::fault::Fault;
use crate::fault::disk::Disk;
use crate::history::{Audit, Clock, History, Operation, Request, Response};
use crate::seed::Seed;
use crate::workload::client::Client;
use crate::workload::load::Load;
use crate::workload::traffic::{BULK, MIXED, Profile, Traffic, random_interest, shared_key};
use crate::workload::watcher::Watcher;
use crate::workload::watches;

/// Concurrent clients.
const CLIENTS: usize = 6;
/// The number of the only member.
const MEMBER: usize = 0;
/// Longest load before the fault; half as long again when a compaction or defragmentation runs
/// beside it.
const LOAD_MAX: Duration = Duration::from_millis(400);
/// Writes that must be acknowledged in a round before the fault strikes.
const WRITES_MIN: usize = 20;
/// Reads that must be answered in a round before the fault strikes.
const READS_MIN: usize = 3;
/// One round in this many has large values.
const BULK_EVERY: u32 = 16;
/// The number of rounds between two rereads of the whole history.
const READ_AGAIN_EVERY: u64 = 25;
/// Bytes of values in the model above which every round compacts the history.
const MODEL_BYTES_MAX: usize = 96 << 20;
/// How long a member may take to start: another connection can hold its port for a while.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection to an ended process may take to break.
const BREAK_WITHIN: Duration = Duration::from_secs(10);
/// How long a watch may take to receive what was written.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);
/// Watches that exist for the whole campaign.
const LASTING_WATCHES: usize = 4;
/// How many revisions in the future a watch may start.
const FUTURE_REVISIONS: i64 = 40;
/// The number of SIGTERM.
const SIGTERM: i32 = 15;
/// How long leases may take to expire at the end of a campaign.
const EXPIRE_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two lease lists meanwhile.
const EXPIRE_PAUSE: Duration = Duration::from_millis(200);

/// Durations of the last start, compaction and defragmentation; faults strike within them.
#[derive(Clone, Copy, Debug)]
struct Took {
    start: Duration,
    compact: Duration,
    defragment: Duration,
}

/// A campaign against one member.
pub struct Campaign {
    seed: Seed,
    /// New in each round, so that its choices do not depend on the timing of earlier rounds.
    rng: StdRng,
    runtime: Runtime,
    clock: Clock,
    server: Server,
    disk: Option<Disk>,
    checker: Checker,
    traffics: Vec<Traffic>,
    /// The lasting watches first; the one behind them is new in each round.
    watchers: Vec<Watcher>,
    watches: u64,
    clients: u64,
    took: Took,
    faults: BTreeMap<Fault, usize>,
}

impl Campaign {
    /// A campaign against a new, ready member with its own data directory. Its first start was
    /// interrupted up to three times.
    pub fn new(program: &Path, seed: Seed) -> Self {
        Self::with(Server::new(program, &[]), None, seed)
    }

    /// A campaign against a new, ready member with its data in `folder` of `disk`. The power was
    /// cut up to three times during its first start.
    pub fn on_disk(program: &Path, disk: Disk, folder: &str, seed: Seed) -> Self {
        let data_dir = disk.path().join(folder).display().to_string();
        Self::with(Server::new(program, &["--data-dir", &data_dir]), Some(disk), seed)
    }

    /// Kills the member and returns its disk, if it has one.
    pub fn into_disk(mut self) -> Option<Disk> {
        self.server.kill();
        self.disk
    }

    fn with(server: Server, disk: Option<Disk>, seed: Seed) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        let clock = Clock::new();
        let traffics = (1..=CLIENTS).map(|number| Traffic::new(seed.rng(number as u64)));
        let some = Duration::from_millis(100);
        let mut campaign = Self {
            seed,
            rng: seed.rng(0),
            runtime,
            clock,
            server,
            disk,
            checker: Checker::default(),
            traffics: traffics.collect(),
            watchers: Vec::new(),
            watches: 0,
            clients: 0,
            took: Took { start: some, compact: some, defragment: some },
            faults: BTreeMap::new(),
        };
        for interest in lasting_interests() {
            campaign.add_watcher(WatchCreateRequest { start_revision: 2, ..interest });
        }
        for _ in 0..campaign.rng.random_range(0..4) {
            campaign.begin_to_start();
            campaign.interrupt();
        }
        campaign.start();
        campaign.prove(Vec::new());
        campaign
    }

    /// Runs one round per fault, then waits until the short leases have expired, and rereads the
    /// whole history.
    ///
    /// # Panics
    /// On a violation, with its text, and when some kind of check never ran.
    pub fn run(&mut self, faults: impl Iterator<Item = Fault>) {
        for (round, fault) in (1..).zip(faults) {
            self.rng = self.seed.derive(round).rng(0);
            self.round(fault);
            let revision = self.checker.model().revision();
            eprintln!("round {round}: {fault:?}, revision {revision}, {:?}", self.took);
            if round % READ_AGAIN_EVERY == 0 {
                self.read_again();
            }
        }
        self.let_leases_expire();
        self.read_again();
        let tally = self.tally();
        let done = [tally.acknowledged, tally.replayed, tally.watched];
        assert!(done.iter().all(|count| *count > 0), "of something nothing was seen: {tally}");
    }

    /// The counts of what was checked.
    pub fn tally(&self) -> Tally {
        self.checker.tally()
    }

    /// How often each fault struck.
    pub fn faults(&self) -> &BTreeMap<Fault, usize> {
        &self.faults
    }

    fn round(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
        let mut load = self.start_load();
        load.await_traffic(WRITES_MIN, READS_MIN);
        self.sleep_between(Duration::ZERO, LOAD_MAX);
        if self.rng.random_ratio(1, 3) {
            let request = if self.rng.random() { Request::Defragment } else { self.compaction() };
            self.ask_beside(&mut load, request);
            self.sleep_between(Duration::ZERO, LOAD_MAX / 2);
        }
        self.strike(fault, &mut load);
        let (operations, traffics) = self.runtime.block_on(load.finish());
        self.traffics = traffics;
        self.note_durations(&operations);
        self.recover(fault);
        self.prove(operations);
    }

    fn start_load(&mut self) -> Load {
        let bulk = self.rng.random_ratio(1, BULK_EVERY);
        let profile: Profile = if bulk { BULK } else { MIXED };
        let mut load = Load::new(&self.clock);
        for traffic in std::mem::take(&mut self.traffics) {
            let client = self.client();
            load.add(self.runtime.handle(), client, traffic, profile);
        }
        if self.checker.model().bytes() > MODEL_BYTES_MAX {
            let request = self.compaction();
            self.ask_beside(&mut load, request);
        }
        load
    }

    fn client(&mut self) -> Client {
        self.clients += 1;
        let _entered = self.runtime.enter();
        Client::new(self.clients, MEMBER, &self.server.url(), &self.clock)
    }

    fn ask_beside(&mut self, load: &mut Load, request: Request) {
        let client = self.client();
        load.ask(self.runtime.handle(), client, request);
    }

    /// A compaction at a proven revision, because the next proof needs the later history. It
    /// removes no event that a watch has not received: a watch that starts in the past may lag
    /// behind.
    fn compaction(&mut self) -> Request {
        let model = self.checker.model();
        let seen = self.watchers.iter().map(Watcher::seen).fold(model.revision(), i64::min);
        let (least, most) = (model.compacted(), seen.max(model.compacted()));
        let all = model.bytes() > MODEL_BYTES_MAX;
        let revision = if all { most } else { self.rng.random_range(least..=most) };
        Request::Compact(CompactionRequest { revision, physical: true })
    }

    fn strike(&mut self, fault: Fault, load: &mut Load) {
        let (request, took) = match fault {
            Fault::KillCompacting | Fault::CutPowerCompacting => {
                (Some(self.compaction()), self.took.compact)
            }
            Fault::KillDefragmenting | Fault::CutPowerDefragmenting => {
                (Some(Request::Defragment), self.took.defragment)
            }
            _ => (None, Duration::ZERO),
        };
        if let Some(request) = request {
            self.ask_beside(load, request);
            self.sleep_between(Duration::ZERO, took * 5 / 4);
        }
        let ended = self.server.exit_status();
        assert!(ended.is_none(), "it ended by itself: {ended:?}\n{}", self.server.log_tail());
        if fault.cuts_power() {
            self.cut_power();
        } else if fault == Fault::Terminate {
            let status = self.server.stop();
            let orderly = status.success() || status.signal() == Some(SIGTERM);
            assert!(orderly, "it was to stop: {status}\n{}", self.server.log_tail());
        } else {
            self.server.kill();
        }
    }

    /// Restarts the member; some faults kill it or cut the power again meanwhile.
    fn recover(&mut self, fault: Fault) {
        self.switch_on();
        match fault {
            Fault::KillTwice => {
                self.start();
                self.interrupt();
            }
            Fault::KillStarting | Fault::CutPowerStarting => {
                for _ in 0..self.rng.random_range(1..4) {
                    self.begin_to_start();
                    self.interrupt();
                }
            }
            _ => {}
        }
        self.start();
    }

    /// Spawns the member and waits for a random part of its start time.
    fn begin_to_start(&mut self) {
        self.server.spawn();
        self.sleep_between(Duration::ZERO, self.took.start * 5 / 4);
    }

    /// Ends a starting member: by a power cut if it has a disk of its own, otherwise by SIGKILL.
    fn interrupt(&mut self) {
        if self.disk.is_some() {
            self.cut_power();
            self.switch_on();
        } else {
            self.server.kill();
        }
    }

    fn start(&mut self) {
        let began = Instant::now();
        let server = &mut self.server;
        wait::until("the start of the member", START_WITHIN, || {
            if server.try_start() {
                return Some(());
            }
            // Another connection on this machine may have taken the port.
            let log = server.log_tail();
            assert!(log.contains("in use"), "it does not start any more:\n{log}");
            None
        });
        self.took.start = began.elapsed();
    }

    fn cut_power(&mut self) {
        let disk = self.disk.as_mut().expect("this member has a disk of its own");
        disk.cut_power(&mut self.rng);
        self.server.kill();
    }

    fn switch_on(&mut self) {
        if let Some(disk) = self.disk.as_mut().filter(|disk| disk.is_off()) {
            disk.restore();
        }
    }

    fn sleep_between(&mut self, least: Duration, most: Duration) {
        if least < most {
            thread::sleep(self.rng.random_range(least..most));
        }
    }

    fn note_durations(&mut self, operations: &[Operation]) {
        for operation in operations.iter().filter(|operation| !operation.is_unanswered()) {
            let took = operation.returned.elapsed - operation.invoked.elapsed;
            match operation.request {
                Request::Compact(_) => self.took.compact = took,
                Request::Defragment => self.took.defragment = took,
                _ => {}
            }
        }
    }

    /// Audits the member and checks the history since the last audit. Afterwards every watch has
    /// received all events, and a new watch is open.
    fn prove(&mut self, mut operations: Vec<Operation>) {
        let url = self.server.url();
        let handle = self.runtime.handle().clone();
        let (watchers, clock) = (&mut self.watchers, &self.clock);
        let since = self.runtime.block_on(async {
            for watcher in watchers.iter_mut() {
                watcher.end_within(BREAK_WITHIN).await;
            }
            let since = clock.now();
            for watcher in watchers.iter_mut() {
                watcher.resume(&handle, MEMBER, &url);
            }
            since
        });
        let proven = self.checker.model().revision();
        let client = self.client();
        let mut auditor = Auditor::new(client, &url, &self.checker);
        let (events, asked) = self.runtime.block_on(auditor.audit(since, proven));
        operations.extend(asked);
        let reached = events.last().and_then(|event| event.kv.as_ref());
        let reached = reached.map_or(proven, |kv| kv.mod_revision);
        self.catch_up(reached);
        let until = self.clock.now();
        let observations = self.watchers.iter().flat_map(|watcher| watcher.take(until)).collect();
        let audit = Audit { events, since, until };
        let history = History { operations, observations, audit };
        if let Err(violation) = self.checker.check(history) {
            panic!("{violation}");
        }
        self.replace_watcher();
    }

    fn catch_up(&self, revision: i64) {
        let caught_up = wait::within(CATCH_UP_WITHIN, || {
            self.watchers.iter().all(|watcher| watcher.seen() >= revision).then_some(())
        });
        assert!(caught_up.is_some(), "{}", watches::laggards(self.watchers.iter(), revision));
    }

    /// Replaces the watch of the last round by one on random keys that starts in the past or a
    /// little in the future.
    fn replace_watcher(&mut self) {
        if self.watchers.len() > LASTING_WATCHES {
            let mut old = self.watchers.pop().expect("it is there");
            self.runtime.block_on(old.end_within(Duration::ZERO));
        }
        let (oldest, last) =
            (self.checker.model().compacted() + 1, self.checker.model().revision());
        let interest = random_interest(&mut self.rng, oldest..=last + FUTURE_REVISIONS);
        self.add_watcher(interest);
        let (url, handle) = (self.server.url(), self.runtime.handle().clone());
        self.watchers.last_mut().expect("just added").resume(&handle, MEMBER, &url);
        // A later compaction must not remove events that this watch has not received.
        self.catch_up(last);
    }

    fn add_watcher(&mut self, interest: WatchCreateRequest) {
        self.watches += 1;
        self.watchers.push(Watcher::new(self.watches, interest, &self.clock));
    }

    /// Rereads the whole history and compares it with the model.
    fn read_again(&self) {
        let model = self.checker.model();
        let (from, to) = (model.compacted() + 1, model.revision());
        let url = self.server.url();
        let events = self.runtime.block_on(audit::events(&url, from, to));
        if let Err(violation) = self.checker.check_again(&events) {
            panic!("{violation}");
        }
    }

    /// Waits until only leases exist that must exist, then restarts and audits the member.
    fn let_leases_expire(&mut self) {
        let mut client = self.client();
        let mut asked = Vec::new();
        wait::until("leases that expire", EXPIRE_WITHIN, || {
            let operation = self.runtime.block_on(client.ask(Request::LeaseLeases));
            let lasting = self.checker.leases(operation.invoked);
            let Some(Response::LeaseLeases(list)) = operation.response() else {
                panic!("no list of leases: {operation}");
            };
            let listed = list.leases.iter();
            let over = listed.filter(|lease| !lasting.contains(&lease.id)).count() == 0;
            asked.push(operation);
            if !over {
                thread::sleep(EXPIRE_PAUSE);
            }
            over.then_some(())
        });
        self.strike(Fault::Terminate, &mut Load::new(&self.clock));
        self.recover(Fault::Terminate);
        self.prove(asked);
    }
}

/// The requests of the lasting watches: all keys, a few keys, and single keys with and without
/// previous values.
fn lasting_interests() -> [WatchCreateRequest; LASTING_WATCHES] {
    let all = Bytes::from_static(b"\0");
    let (first, last) = (Bytes::from_static(b"k/00"), Bytes::from_static(b"k/01"));
    let of = |key, range_end, prev_kv| WatchCreateRequest {
        key,
        range_end,
        prev_kv,
        ..Default::default()
    };
    [
        of(all.clone(), all, true),
        of(first, last, false),
        of(shared_key(0), Bytes::new(), true),
        of(shared_key(1), Bytes::new(), false),
    ]
}
