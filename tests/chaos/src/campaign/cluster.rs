//! Rounds of load, fault, recovery and proof, for a cluster of several members.

mod audit;
mod effects;
mod members;
mod resources;
mod strain;
mod strike;

use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
pub use effects::{Effect, Effects};
use quorate_proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use quorate_proto::mvccpb::Event;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::log_pipe::LogSwitch;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
pub use resources::Resources;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::lasting_interests;
use crate::checker::{Checker, Tally};
use crate::fault::clock::FakeClock;
use crate::fault::cluster::{ClusterFault, Ground};
use crate::fault::disk::Disk;
use crate::history::{Clock, Operation, Request};
use crate::seed::Seed;
use crate::workload::client::Client;
use crate::workload::load::Load;
use crate::workload::roamer::{Address, Directory, Roamer};
use crate::workload::traffic::{BULK, KUBERNETES, LOCKS, MIXED, READS, Traffic};
use crate::workload::watcher::Watcher;
use crate::workload::watches::Watches;

/// Frequent progress notifications for the watches that request them.
const OPTIONS: [&str; 2] = ["--watch-progress-notify-interval", "100ms"];
/// The memory budget of a member with 2 GiB of memory.
const STRAINED: [&str; 1] = ["--memory-budget=178956970"];
/// Concurrent clients: three for each kind of traffic, spread over the members.
const CLIENTS: usize = 9;
/// Longest load before the fault, and again after it.
const LOAD_MAX: Duration = Duration::from_millis(400);
/// How long a client waits for a response: longer than the request timeout of a member, so that an
/// unanswered request has ended there.
const PATIENCE: Duration = Duration::from_secs(8);
/// Additional clients that only read. A writing client hangs at a leader without followers, and so
/// misses how that leader answers reads.
const READERS: usize = 3;
/// How long a reader waits for a response.
const READER_PATIENCE: Duration = Duration::from_millis(300);
/// How long a network may try to deliver a request.
const NETWORK_KEEPS: Duration = Duration::from_secs(120);
/// Writes that must be acknowledged in a round before the fault strikes.
const WRITES_MIN: usize = 30;
/// Reads that must be answered in a round before the fault strikes.
const READS_MIN: usize = 30;
/// One round in this many has large values.
const BULK_EVERY: u32 = 16;
/// The number of rounds between two rereads of the whole history from every member.
const READ_AGAIN_EVERY: u64 = 25;
/// Bytes of values in the model above which every round compacts the history.
const MODEL_BYTES_MAX: usize = 64 << 20;
/// The purpose of the random numbers that choose the next member of a watch.
const WATCHES_PURPOSE: u64 = u64::MAX - 1;
/// The purpose of the random numbers for proxies and for TLS behind them.
const PROXIES_PURPOSE: u64 = u64::MAX - 2;
/// The assumed duration of compactions and defragmentations, within which a fault strikes.
const UPKEEP: Duration = Duration::from_millis(60);

/// A campaign against the members of a cluster.
pub struct ClusterCampaign {
    seed: Seed,
    /// New in each round, so that its choices do not depend on the timing of earlier rounds.
    rng: StdRng,
    runtime: Runtime,
    clock: Clock,
    cluster: Cluster,
    /// The member number in each place. A replacement gets a new number.
    numbers: Vec<usize>,
    /// The addresses of the members, as clients know them.
    directory: Directory,
    disks: Vec<Disk>,
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
    watched: u64,
    clients: u64,
    /// Whether write stalls are held to the limits of an idle machine.
    measured: bool,
    /// The struck place, for faults of a single member that was not chosen as the leader.
    victim: Option<usize>,
    effects: Effects,
    /// The effect of this round's fault.
    effect: Effect,
    /// The peak resource usage of any member.
    resources: Resources,
    /// The switches that block the logs of members; empty on other grounds than strains.
    switches: Vec<LogSwitch>,
    // Holds the files of the clocks.
    folder: TempDir,
}

impl ClusterCampaign {
    /// A campaign on `ground` against new members that are ready.
    pub fn new(program: &Path, ground: Ground, seed: Seed) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().expect("threads");
        let size = ground.size();
        let cluster = match ground {
            Ground::Network | Ground::FiveMachines => {
                Cluster::on_machines_with_tls(program, size, &OPTIONS)
            }
            Ground::Proxies => {
                let mut rng = seed.rng(PROXIES_PURPOSE);
                Cluster::behind_proxies(program, size, &OPTIONS, rng.random(), rng.random())
            }
            // No progress notifications: only events advance a watch that has stalled.
            Ground::Strains => Cluster::new_with_tls(program, size, &STRAINED),
            Ground::Processes | Ground::Disks | Ground::Clocks => {
                Cluster::new(program, size, &OPTIONS)
            }
        };
        let checker = Checker::patient(late_max(ground));
        let checker = if ground == Ground::Disks { checker.with_full_disks() } else { checker };
        let traffics = (1..=CLIENTS + READERS).map(|number| Traffic::new(seed.rng(number as u64)));
        let directory = Directory::default();
        let others = others(&directory, seed.rng(WATCHES_PURPOSE));
        let watches = Watches::keep(runtime.handle(), others);
        let folder = tempfile::Builder::new().prefix("quorate-chaos-").tempdir();
        let mut campaign = Self {
            seed,
            rng: seed.rng(0),
            runtime,
            clock: Clock::new(),
            cluster,
            numbers: (0..size).collect(),
            directory,
            disks: Vec::new(),
            clocks: Vec::new(),
            paused: Vec::new(),
            checker,
            saved: Vec::new(),
            pending: Vec::new(),
            traffics: traffics.collect(),
            watches,
            watched: 0,
            clients: 0,
            measured: false,
            victim: None,
            effects: Effects::default(),
            effect: Effect::default(),
            resources: Resources::default(),
            switches: Vec::new(),
            folder: folder.expect("a folder"),
        };
        campaign.furnish(ground);
        campaign.start_all();
        campaign.publish();
        if ground == Ground::Strains {
            campaign.lay_ballast();
        }
        for interest in lasting_interests() {
            let interest = WatchCreateRequest { start_revision: 2, ..interest };
            campaign.add_watcher(interest.clone(), None);
            if ground == Ground::Strains && is_everything(&interest) {
                campaign.add_quiet_watcher(interest);
            }
        }
        campaign.prove(Vec::new());
        campaign
    }

    /// Gives members the disks, clocks or limits of the ground.
    fn furnish(&mut self, ground: Ground) {
        if ground == Ground::Strains {
            self.tighten();
        }
        for (place, member) in self.cluster.members.iter_mut().enumerate() {
            if ground == Ground::Disks {
                let disk = Disk::new();
                member.set_data_dir(&disk.path().join("data"));
                self.disks.push(disk);
            }
            if ground == Ground::Clocks {
                let clock = FakeClock::new(self.folder.path(), &format!("clock{place}"));
                let launcher = clock.launcher();
                let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
                member.set_launcher(&launcher);
                self.clocks.push(clock);
            }
        }
    }

    /// Holds write stalls to the limits of an idle machine.
    pub fn measure_stalls(&mut self) {
        self.measured = true;
    }

    /// Runs one round per fault, then waits until the short leases have expired, rereads the whole
    /// history, and compares the hashes of all members.
    ///
    /// # Panics
    /// On a violation, with its text; when a fault has no effect or writes stall for too long; and
    /// when some kind of check never ran.
    pub fn run(&mut self, faults: impl Iterator<Item = ClusterFault>) {
        for (round, fault) in (1..).zip(faults) {
            self.rng = self.seed.derive(round).rng(0);
            self.round(fault);
            let revision = self.checker.model().revision();
            eprintln!("round {round}: {fault:?}, revision {revision}, {:?}", self.effect);
            if round % READ_AGAIN_EVERY == 0 {
                self.read_again();
            }
        }
        self.let_leases_expire();
        self.read_again();
        self.agree();
        let tally = self.tally();
        let done = [tally.acknowledged, tally.replayed, tally.watched, tally.hashes];
        assert!(done.iter().all(|count| *count > 0), "of something nothing was seen: {tally}");
    }

    /// The counts of what was checked.
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

    fn round(&mut self, fault: ClusterFault) {
        self.effect = Effect { struck: 1, ..Effect::default() };
        let (reign, snapshots) = (self.reign(), self.snapshots());
        self.victim = None;
        let mut load = self.start_load();
        load.await_traffic(WRITES_MIN, READS_MIN);
        self.sleep_between(Duration::ZERO, LOAD_MAX);
        if self.rng.random_ratio(1, 3) {
            let request = if self.rng.random() { Request::Defragment } else { self.compaction() };
            self.ask_beside(&mut load, request);
            self.sleep_between(Duration::ZERO, LOAD_MAX / 2);
        }
        self.strike(fault, &mut load);
        self.recover();
        self.sleep_between(Duration::ZERO, LOAD_MAX);
        let stopped = self.clock.now();
        let (operations, traffics) = self.runtime.block_on(load.finish());
        self.traffics = traffics;
        self.effect.note(operations.iter().chain(&self.pending), stopped);
        let reign_after = self.reign();
        self.effect.elections += usize::from(reign_after != reign);
        self.effect.snapshots += self.snapshots_since(&snapshots);
        self.prove(operations);
        self.measure_resources();
        self.effects.add(fault, self.effect);
        let effect = self.effect;
        assert!(effect.shows(fault), "{fault:?} did not do what it must: {effect:?}");
        // The victim may have become the leader before the fault struck it.
        let leader_stayed = reign_after == reign && self.victim.is_some_and(|v| v != reign.leader);
        if let Some(most) = effects::stall_max(fault, leader_stayed, self.measured) {
            assert!(effect.stall < most, "{fault:?}: writes stood still, {effect:?}");
        }
    }

    fn start_load(&mut self) -> Load {
        let bulk = self.rng.random_ratio(1, BULK_EVERY);
        let mut load = Load::new(&self.clock);
        for (number, traffic) in std::mem::take(&mut self.traffics).into_iter().enumerate() {
            if number >= CLIENTS {
                let reader = self.roamer(number % self.size()).with_patience(READER_PATIENCE);
                load.add_roaming(self.runtime.handle(), reader, traffic, READS);
                continue;
            }
            let profile = match number % 3 {
                0 if bulk => BULK,
                0 => MIXED,
                1 => KUBERNETES,
                _ => LOCKS,
            };
            let roamer = self.roamer(number / 3 % self.size());
            load.add_roaming(self.runtime.handle(), roamer, traffic, profile);
        }
        if self.checker.model().bytes() > MODEL_BYTES_MAX {
            let request = self.compaction();
            self.ask_beside(&mut load, request);
        }
        load
    }

    /// Publishes the addresses of the members to the clients.
    fn publish(&self) {
        let members = self.cluster.members.iter().zip(self.numbers.iter().copied());
        let members = members.map(|(server, member)| Address { member, url: server.url() });
        self.directory.set(members.collect());
    }

    /// A client of all members that starts at the one in a place.
    fn roamer(&mut self, place: usize) -> Roamer {
        self.clients += 1;
        let rng = rand::SeedableRng::seed_from_u64(self.rng.random());
        Roamer::new(self.clients, &self.clock, rng, PATIENCE, &self.directory, place)
    }

    /// A client of the member in a place.
    fn client(&mut self, place: usize) -> Client {
        self.clients += 1;
        let _entered = self.runtime.enter();
        let url = self.cluster.members[place].url();
        Client::new(self.clients, self.numbers[place], &url, &self.clock)
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

    /// A compaction at a proven revision, because the next proof needs the later history. It
    /// removes no event that a watch has not received: a watch that starts in the past may lag
    /// behind.
    fn compaction(&mut self) -> Request {
        let model = self.checker.model();
        let proven = model.revision();
        let seen = self.watches.seen().map_or(proven, |seen| seen.min(proven));
        let (least, most) = (model.compacted(), seen.max(model.compacted()));
        let all = model.bytes() > MODEL_BYTES_MAX;
        let revision = if all { most } else { self.rng.random_range(least..=most) };
        Request::Compact(CompactionRequest { revision, physical: true })
    }

    fn sleep_between(&mut self, least: Duration, most: Duration) {
        if least < most {
            thread::sleep(self.rng.random_range(least..most));
        }
    }

    fn add_watcher(&mut self, interest: WatchCreateRequest, beside: Option<WatchCreateRequest>) {
        let mut watcher = self.watcher(interest);
        if let Some(interest) = beside {
            self.watched += 1;
            watcher = watcher.beside(self.watched, interest);
        }
        let place = self.any_place();
        self.watches.add(watcher, self.numbers[place]);
    }

    /// Adds a watch that never requests progress.
    fn add_quiet_watcher(&mut self, interest: WatchCreateRequest) {
        let watcher = self.watcher(interest).quiet();
        let place = self.any_place();
        self.watches.add(watcher, self.numbers[place]);
    }

    fn watcher(&mut self, interest: WatchCreateRequest) -> Watcher {
        self.watched += 1;
        Watcher::new(self.watched, interest, &self.clock)
    }

    /// The key and range end of all keys.
    fn all_keys() -> (Bytes, Bytes) {
        (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
    }
}

/// How late a request can be applied whose client has given up: as long as a network or proxy may
/// deliver it; elsewhere, little longer than a client waits.
fn late_max(ground: Ground) -> Duration {
    match ground {
        Ground::Network | Ground::FiveMachines | Ground::Proxies => NETWORK_KEEPS,
        Ground::Processes | Ground::Disks | Ground::Clocks | Ground::Strains => PATIENCE * 2,
    }
}

/// Whether a watch covers all keys.
fn is_everything(interest: &WatchCreateRequest) -> bool {
    (&interest.key, &interest.range_end) == (&interest.range_end, &ClusterCampaign::all_keys().0)
}

/// Chooses the next member of a watch: any but the last one.
fn others(members: &Directory, mut rng: StdRng) -> impl FnMut(usize) -> Address + Send + 'static {
    let members = members.clone();
    move |last| {
        let others = members.list().into_iter().filter(|address| address.member != last);
        others.choose(&mut rng).expect("a cluster has several members")
    }
}
