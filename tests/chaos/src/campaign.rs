//! Rounds of load, fault, recovery and check.

mod auditor;
mod check;
mod effects;
mod inject;
mod members;
mod overload;
mod resources;
mod rest;
mod run;
mod timing;

use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use quorate_proto::mvccpb::Event;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::log_pipe::LogSwitch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use self::auditor::events;
pub use self::effects::{Effect, Effects};
pub use self::resources::Resources;
pub use self::run::{survive, survive_first_starts};
use self::timing::Timing;
use crate::checker::{Checker, Tally};
use crate::fault::Fault;
use crate::fault::clock::FakeClock;
use crate::fault::disk::Disk;
use crate::fault::environment::Environment;
use crate::history::{Clock, Operation, Request};
use crate::seed::Seed;
use crate::workload::client::Client;
use crate::workload::endpoints::Endpoints;
use crate::workload::failover_client::FailoverClient;
use crate::workload::load::Load;
use crate::workload::traffic::{BULK, KUBERNETES, LOCKS, MIXED, READS, Traffic};
use crate::workload::watcher::Watcher;
use crate::workload::watches::{Watches, lasting_interests};

/// Concurrent clients: three for each kind of traffic, spread over the members.
const CLIENTS: usize = 9;
/// Longest load before the fault, and again after it.
const LOAD_MAX: Duration = Duration::from_millis(400);
/// How long a client waits for a response: longer than the request timeout of a member, so that an
/// unanswered request has ended there.
const PATIENCE: Duration = Duration::from_secs(8);
/// Additional clients that only read. A client that also writes waits long for a leader without
/// followers, so it would hardly test how that leader answers reads.
const READERS: usize = 3;
/// How long a reader waits for a response.
const READER_PATIENCE: Duration = Duration::from_millis(300);
/// Writes that must be acknowledged in a round before the fault is injected.
const WRITES_MIN: usize = 30;
/// Reads that must be answered in a round before the fault is injected.
const READS_MIN: usize = 30;
/// One round in this many has large values.
const BULK_EVERY: u32 = 16;
/// The number of rounds between two rereads of the whole history from every member.
const REREAD_EVERY: u64 = 25;
/// Bytes of values in the model above which every round compacts the history.
const MODEL_BYTES_MAX: usize = 64 << 20;
/// How often the first start of a single member is interrupted at most.
const INTERRUPTIONS_MAX: u32 = 3;
/// The purpose of the random numbers that choose the next member of a watch.
const WATCHES_PURPOSE: u64 = u64::MAX - 1;
/// The purpose of the random numbers for proxies and for TLS behind them.
const PROXIES_PURPOSE: u64 = u64::MAX - 2;

/// A campaign against the members of a cluster.
pub struct Campaign {
    seed: Seed,
    /// New in each round, so that its choices do not depend on the timing of earlier rounds.
    rng: StdRng,
    runtime: Runtime,
    clock: Clock,
    cluster: Cluster,
    /// The member number in each place. A replacement gets a new number.
    numbers: Vec<usize>,
    endpoints: Endpoints,
    /// The disks of the members, in environments with disks.
    disks: Vec<Disk>,
    /// The clocks of the members, in environments with clocks.
    clocks: Vec<FakeClock>,
    paused: Vec<usize>,
    checker: Checker,
    /// Events of this round that were read before their compaction.
    saved: Vec<Event>,
    /// Operations of this round outside its load.
    pending: Vec<Operation>,
    traffics: Vec<Traffic>,
    /// The lasting watches first; those behind them are new in each round.
    watches: Watches,
    /// The number of watches so far.
    watch_count: u64,
    /// The number of clients so far.
    client_count: u64,
    timing: Timing,
    /// Whether write stalls are held to the limits of an idle machine.
    is_measured: bool,
    /// The place that the fault targets, for faults of a single member that was not chosen as the
    /// leader.
    target: Option<usize>,
    effects: Effects,
    /// The effect of this round's fault.
    effect: Effect,
    /// The peak resource usage of any member.
    resources: Resources,
    /// The switches that block the logs of members; empty unless members are overloaded.
    switches: Vec<LogSwitch>,
    // Holds the files of the clocks.
    folder: TempDir,
}

impl Campaign {
    /// A campaign in an environment against new members that are ready. The first start of a single
    /// member was interrupted up to three times.
    pub fn new(program: &Path, environment: Environment, seed: Seed) -> Self {
        let runtime = crate::workload::runtime();
        let cluster = environment.cluster(program, &mut seed.rng(PROXIES_PURPOSE));
        let checker = Checker::patient(environment.late_max(PATIENCE));
        let fills_disks = environment == Environment::Disks;
        let checker = if fills_disks { checker.with_full_disks() } else { checker };
        let traffics = (1..=CLIENTS + READERS).map(|number| Traffic::new(seed.rng(number as u64)));
        let endpoints = Endpoints::default();
        let known = endpoints.clone();
        let mut rng = seed.rng(WATCHES_PURPOSE);
        let watches =
            Watches::keep(runtime.handle(), move |last| known.choose_other(last, &mut rng));
        let folder = tempfile::Builder::new().prefix("quorate-chaos-").tempdir();
        let mut campaign = Self {
            seed,
            rng: seed.rng(0),
            runtime,
            clock: Clock::new(),
            cluster,
            numbers: (0..environment.size()).collect(),
            endpoints,
            disks: Vec::new(),
            clocks: Vec::new(),
            paused: Vec::new(),
            checker,
            saved: Vec::new(),
            pending: Vec::new(),
            traffics: traffics.collect(),
            watches,
            watch_count: 0,
            client_count: 0,
            timing: Timing::default(),
            is_measured: false,
            target: None,
            effects: Effects::default(),
            effect: Effect::default(),
            resources: Resources::default(),
            switches: Vec::new(),
            folder: folder.expect("a folder"),
        };
        campaign.equip(environment);
        campaign.first_start();
        campaign.add_lasting_watches(environment);
        campaign.check(Vec::new());
        campaign
    }

    /// Gives members the disks, clocks or limits of the environment.
    fn equip(&mut self, environment: Environment) {
        if environment == Environment::Overload {
            self.limit_members();
        }
        for (place, member) in self.cluster.members.iter_mut().enumerate() {
            if environment.has_disks() {
                let disk = Disk::new();
                member.set_data_dir(&disk.path().join("data"));
                self.disks.push(disk);
            }
            if environment == Environment::Clocks {
                let clock = FakeClock::new(self.folder.path(), &format!("clock{place}"));
                let launcher = clock.launcher();
                let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
                member.set_launcher(&launcher);
                self.clocks.push(clock);
            }
        }
    }

    fn first_start(&mut self) {
        if self.size() == 1 {
            for _ in 0..self.rng.random_range(0..=INTERRUPTIONS_MAX) {
                self.interrupt_start(0);
            }
        }
        self.start_all();
        for (server, number) in self.cluster.members.iter().zip(&self.numbers) {
            self.endpoints.insert(*number, &server.url());
        }
    }

    fn add_lasting_watches(&mut self, environment: Environment) {
        let is_overloaded = environment == Environment::Overload;
        if is_overloaded {
            self.write_large_values();
        }
        for interest in lasting_interests() {
            let covers_all = interest.key == interest.range_end;
            self.add_watcher(interest.clone(), None);
            if is_overloaded && covers_all {
                let watcher = self.watcher(interest).quiet();
                self.open(watcher);
            }
        }
    }

    /// Holds write stalls to the limits of an idle machine.
    pub fn measure_stalls(&mut self) {
        self.is_measured = true;
    }

    /// Runs one round per fault, then waits until the short leases have expired, restarts all
    /// members, rereads the whole history, and compares the hashes of all members.
    ///
    /// # Panics
    /// On a violation, with its text; when a fault has no effect or writes stall for too long; and
    /// when some kind of check never ran.
    pub fn run(&mut self, faults: impl Iterator<Item = Fault>) {
        for (round, fault) in (1..).zip(faults) {
            self.rng = self.seed.derive(round).rng(0);
            self.round(fault);
            let revision = self.checker.model().revision();
            eprintln!("round {round}: {fault:?}, revision {revision}, {:?}", self.effect);
            if round % REREAD_EVERY == 0 {
                self.reread();
            }
        }
        self.let_leases_expire();
        self.reread();
        self.compare_hashes();
        let tally = self.tally();
        let done = [tally.acknowledged, tally.replayed, tally.watched, tally.hashes];
        assert!(done.iter().all(|count| *count > 0), "some check never ran: {tally}");
    }

    /// The counts of the checks.
    pub fn tally(&self) -> Tally {
        self.checker.tally()
    }

    /// The peak resource usage of any member.
    pub fn resources(&self) -> Resources {
        self.resources
    }

    /// The effects of the faults.
    pub fn effects(&self) -> &Effects {
        &self.effects
    }

    fn round(&mut self, fault: Fault) {
        self.effect = Effect { injected: 1, ..Effect::default() };
        let leadership = self.leadership();
        let snapshots = self.snapshots();
        self.target = None;
        let mut load = self.start_load();
        load.await_traffic(WRITES_MIN, READS_MIN);
        self.sleep_between(Duration::ZERO, LOAD_MAX);
        if self.rng.random_ratio(1, 3) {
            let request = if self.rng.random() { Request::Defragment } else { self.compaction() };
            self.ask_beside(&mut load, request);
            self.sleep_between(Duration::ZERO, LOAD_MAX / 2);
        }
        self.inject(fault, &mut load);
        self.recover();
        self.sleep_between(Duration::ZERO, LOAD_MAX);
        let stopped = self.clock.now();
        let (operations, traffics) = self.runtime.block_on(load.finish());
        self.traffics = traffics;
        self.timing.note(&operations);
        self.effect.note(operations.iter().chain(&self.pending), stopped);
        let leadership_after = self.leadership();
        self.effect.elections += usize::from(leadership_after != leadership);
        self.effect.snapshots += self.snapshots_since(&snapshots);
        self.check(operations);
        self.assert_rest();
        self.measure_resources();
        self.effects.add(fault, self.effect);
        let effect = self.effect;
        assert!(effect.shows(fault), "{fault:?} did not do what it must: {effect:?}");
        // The target may have become the leader before the fault reached it.
        let leader_stayed = leadership_after == leadership
            && self.target.is_some_and(|target| target != leadership.leader);
        if let Some(most) = effects::stall_max(fault, self.size(), leader_stayed, self.is_measured)
        {
            assert!(effect.stall < most, "{fault:?}: writes stood still, {effect:?}");
        }
    }

    fn start_load(&mut self) -> Load {
        let is_bulk = self.rng.random_ratio(1, BULK_EVERY);
        let mut load = Load::default();
        for (number, traffic) in std::mem::take(&mut self.traffics).into_iter().enumerate() {
            if number >= CLIENTS {
                let reader = self.failover_client(number % self.size());
                let reader = reader.with_patience(READER_PATIENCE);
                load.add(self.runtime.handle(), reader, traffic, READS);
                continue;
            }
            let profile = match number % 3 {
                0 if is_bulk => BULK,
                0 => MIXED,
                1 => KUBERNETES,
                _ => LOCKS,
            };
            let client = self.failover_client(number / 3 % self.size());
            load.add(self.runtime.handle(), client, traffic, profile);
        }
        if self.checker.model().bytes() > MODEL_BYTES_MAX {
            let request = self.compaction();
            self.ask_beside(&mut load, request);
        }
        load
    }

    /// A random number generator for one client.
    fn client_rng(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.rng.random())
    }

    /// A client of all members that starts at the one in a place.
    fn failover_client(&mut self, place: usize) -> FailoverClient {
        self.client_count += 1;
        let id = self.client_count;
        let rng = self.client_rng();
        let member = self.numbers[place];
        FailoverClient::new(id, &self.clock, rng, PATIENCE, &self.endpoints, member)
    }

    /// A client of the member in a place.
    fn client(&mut self, place: usize) -> Client {
        self.client_count += 1;
        let _entered = self.runtime.enter();
        let url = self.cluster.members[place].url();
        Client::new(self.client_count, self.numbers[place], &url, &self.clock)
    }

    fn ask_beside(&mut self, load: &mut Load, request: Request) {
        let place = self.any_place();
        self.ask_member_beside(load, place, request);
    }

    fn ask_member_beside(&mut self, load: &mut Load, place: usize, request: Request) {
        let client = self.client(place);
        load.ask(self.runtime.handle(), client, request);
    }

    /// The number of members.
    fn size(&self) -> usize {
        self.numbers.len()
    }

    fn any_place(&mut self) -> usize {
        let size = self.size();
        self.rng.random_range(0..size)
    }

    /// A compaction at a proven revision, because the next check needs the later history. It
    /// removes no event that a watch has not received: a watch that starts in the past may lag
    /// behind.
    fn compaction(&mut self) -> Request {
        let model = self.checker.model();
        let proven = model.revision();
        let seen = self.watches.seen().map_or(proven, |seen| seen.min(proven));
        let least = model.compacted();
        let most = seen.max(model.compacted());
        let is_full = model.bytes() > MODEL_BYTES_MAX;
        let revision = if is_full { most } else { self.rng.random_range(least..=most) };
        Request::Compact(CompactionRequest { revision, physical: true })
    }

    fn sleep_between(&mut self, least: Duration, most: Duration) {
        if least < most {
            thread::sleep(self.rng.random_range(least..most));
        }
    }

    /// Sleeps until a random moment within an operation that took this long the last time, or
    /// shortly after it.
    fn sleep_within(&mut self, took: Duration) {
        self.sleep_between(Duration::ZERO, (took * 5 / 4).min(LOAD_MAX));
    }

    fn add_watcher(&mut self, interest: WatchCreateRequest, beside: Option<WatchCreateRequest>) {
        let mut watcher = self.watcher(interest);
        if let Some(interest) = beside {
            self.watch_count += 1;
            watcher = watcher.beside(self.watch_count, interest);
        }
        self.open(watcher);
    }

    fn watcher(&mut self, interest: WatchCreateRequest) -> Watcher {
        self.watch_count += 1;
        Watcher::new(self.watch_count, interest, &self.clock)
    }

    /// Keeps a watch open. It opens at a member other than a randomly chosen one.
    fn open(&mut self, watcher: Watcher) {
        let place = self.any_place();
        self.watches.add(watcher, self.numbers[place]);
    }

    /// The key and range end of all keys.
    fn all_keys() -> (Bytes, Bytes) {
        (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
    }
}
