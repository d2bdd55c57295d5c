//! Injects the faults of a cluster campaign.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, RangeRequest, WatchCreateRequest,
};
use quorate_test_support::client::channel;
use quorate_test_support::proxy::ProxyMode;
use quorate_test_support::wait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{ClusterCampaign, UPKEEP};
use crate::fault::cluster::ClusterFault;
use crate::history::Request;
use crate::workload::client::Client;
use crate::workload::load::Load;
use crate::workload::traffic::{BULK, FLOOD, SHARED_KEYS, Traffic, shared_key};

/// The election timeout: ten heartbeat intervals.
const ELECTION: Duration = Duration::from_secs(1);
/// Shortest and longest duration of most faults: enough for an election and for writes at the new
/// leader.
const LASTING: (Duration, Duration) = (Duration::from_millis(1300), Duration::from_millis(3500));
/// Entries to write: more than the log keeps for members that lag behind.
const OUTDATED_BY: u64 = 6_800;
/// The clients that write them.
const FLOODING: usize = 48;
/// Attempts to kill a member while it receives a snapshot.
const RECEIVING_TRIES: usize = 3;
/// The extension of database files.
const DATABASE: &str = "redb";
/// Clients that ask a paused leader, and the longest time between two of them.
const PINNED: usize = 16;
const PINNED_PAUSE_MAX: Duration = Duration::from_millis(40);
/// Clients that write large values while a disk is full.
const FILLING: usize = 4;
/// How long members may take to react to a fault.
const NOTICE_WITHIN: Duration = Duration::from_secs(30);
/// Seconds in a day.
const DAY: i64 = 86_400;
/// Seconds in ten years.
const TEN_YEARS: i64 = 10 * 365 * DAY;

impl ClusterCampaign {
    /// Injects a fault and waits for its duration. [`recover`](Self::recover) ends it.
    pub(super) fn strike(&mut self, fault: ClusterFault, load: &mut Load) {
        use ClusterFault as F;
        let leader = self.reign().leader;
        let size = self.size();
        let other = (leader + self.rng.random_range(1..size)) % size;
        let one = self.any_place();
        let all: Vec<usize> = (0..size).map(|turn| (one + turn) % size).collect();
        self.victim = match fault {
            F::KillOther | F::PauseOther | F::IsolateOther | F::SlowFollower => Some(other),
            F::CutPowerOfOne | F::FillDisk => Some(one),
            _ => None,
        };
        match fault {
            F::KillLeader => self.kill_for_a_while(&[leader]),
            F::KillOther => self.kill_for_a_while(&[other]),
            F::KillMajority => self.kill_for_a_while(&[(one + 1) % size, (one + 2) % size]),
            F::KillAll => self.kill_for_a_while(&all),
            F::KillTwice => self.kill_twice(leader),
            F::KillStarting => self.kill_starting(one),
            F::KillCompacting => {
                let request = self.compaction();
                self.kill_beside(one, load, request);
            }
            F::KillDefragmenting => self.kill_beside(one, load, Request::Defragment),
            F::Outdate => self.outdate(other),
            F::OutdateAlive => self.outdate_alive(other),
            F::KillReceiving => self.kill_receiving(other),
            F::ClosePort => self.close_port(one),
            F::StopLeader => {
                self.cluster.members[leader].stop();
                self.last();
            }
            F::PauseLeader => self.pause_leader(leader, load),
            F::PauseBriefly => self.pause_for(leader, (ELECTION / 5, ELECTION * 4 / 5)),
            F::PauseOther => self.pause_for(other, LASTING),
            F::Replace => self.replace(one),
            F::CutPowerOfOne => self.cut_power(&[one]),
            F::CutPowerOfAll => self.cut_power(&all),
            F::FillDisk => self.fill_disk(one),
            F::HangDisk => self.hang_disk(leader),
            F::Delay | F::Mutilate | F::Hold => self.distort(fault, one),
            F::JumpClock | F::StrobeClocks => self.change_clocks(fault, one),
            F::IsolateLeader
            | F::IsolateOther
            | F::Scatter
            | F::MuteLeader
            | F::DeafenLeader
            | F::Ring
            | F::Flap
            | F::BridgeLeader
            | F::LosePackets => self.disturb(fault, leader, other),
            F::SlowDisks
            | F::PauseReaders
            | F::IgnoreAnswers
            | F::Herd
            | F::SilentConnections
            | F::CancelRanges
            | F::SlowFollower
            | F::BlockLogs => self.strain(fault, leader, other),
        }
    }

    /// Resumes paused members, restores disks and starts the members that do not run.
    pub(super) fn recover(&mut self) {
        self.resume_paused();
        for disk in self.disks.iter_mut().filter(|disk| disk.is_off()) {
            disk.restore();
        }
        self.start_all();
    }

    pub(super) fn last(&mut self) {
        self.sleep_between(LASTING.0, LASTING.1);
    }

    fn kill_for_a_while(&mut self, places: &[usize]) {
        for place in places {
            self.kill(*place);
        }
        // Sometimes the members are back before the others notice.
        if self.rng.random() {
            self.last();
        }
    }

    fn kill_twice(&mut self, leader: usize) {
        self.kill(leader);
        let next = wait::until("a new leader", NOTICE_WITHIN, || self.reign_now()).leader;
        self.kill(next);
    }

    fn kill_starting(&mut self, place: usize) {
        self.kill(place);
        for _ in 0..self.rng.random_range(1..4) {
            self.cluster.members[place].spawn();
            self.sleep_between(Duration::ZERO, ELECTION / 3);
            self.kill(place);
        }
    }

    /// Kills a member while it receives a snapshot.
    fn kill_receiving(&mut self, place: usize) {
        for _ in 0..RECEIVING_TRIES {
            self.outdate(place);
            self.cluster.members[place].spawn();
            wait::within(NOTICE_WITHIN, || self.receives(place).then_some(()));
            self.kill(place);
            if self.receives(place) {
                self.effect.torn += 1;
                return;
            }
        }
    }

    /// Whether a member has a second database file, which it makes from a snapshot.
    fn receives(&self, place: usize) -> bool {
        let folder = self.cluster.members[place].data_dir().join("member/db");
        let files = fs::read_dir(folder).expect("it has a database").flatten();
        files.filter(|file| file.path().extension().is_some_and(|e| e == DATABASE)).count() > 1
    }

    fn kill_beside(&mut self, place: usize, load: &mut Load, request: Request) {
        self.ask_member_beside(load, place, request);
        self.sleep_between(Duration::ZERO, UPKEEP);
        self.kill_for_a_while(&[place]);
    }

    /// Leaves a member behind by more than the log of its leader keeps.
    fn outdate(&mut self, place: usize) {
        self.kill(place);
        self.flood_without(place);
        self.forget_without(place);
    }

    /// The same for a running member, which is cut off from the others. Meanwhile a compaction
    /// removes the events that its watches have not received.
    fn outdate_alive(&mut self, place: usize) {
        self.watch_all_at(place);
        let snapshots = self.snapshots();
        self.isolate(place);
        self.flood_without(place);
        self.save_events((place + 1) % self.size());
        self.forget_without(place);
        self.cluster.net().heal();
        wait::within(NOTICE_WITHIN, || (self.snapshots_since(&snapshots) > 0).then_some(()));
    }

    /// Opens a watch of all keys at a member, and waits until the watch has received new events.
    fn watch_all_at(&mut self, place: usize) {
        let (key, range_end) = Self::all_keys();
        let proven = self.checker.model().revision();
        let start_revision = proven + 1;
        // Previous values are the first thing that a compaction removes.
        let prev_kv = true;
        let interest =
            WatchCreateRequest { key, range_end, start_revision, prev_kv, ..Default::default() };
        let mut watcher = self.watcher(interest);
        let (member, url) = (self.numbers[place], self.cluster.members[place].url());
        watcher.resume(self.runtime.handle(), member, &url);
        wait::until("a watch that keeps up", NOTICE_WITHIN, || {
            (watcher.seen() > proven).then_some(())
        });
        self.watches.add(watcher, member);
    }

    /// Writes through the other members more entries than the log keeps for an absent member.
    fn flood_without(&mut self, place: usize) {
        let mut load = Load::new(&self.clock);
        for number in 0..FLOODING {
            let rng = StdRng::seed_from_u64(self.rng.random());
            let roamer = self.roamer((place + 1 + number % 2) % self.size());
            let many = usize::try_from(OUTDATED_BY).expect("it is small") / FLOODING + 1;
            let profile = FLOOD.up_to(many);
            load.add_roaming(self.runtime.handle(), roamer, Traffic::new(rng), profile);
        }
        let (flooded, _) = self.runtime.block_on(load.run());
        self.pending.extend(flooded);
    }

    /// Compacts the history and truncates the logs of all members but one.
    fn forget_without(&mut self, place: usize) {
        // Physical compaction flushes everything to the database first; the log then drops it.
        let last = self.known();
        let others = (0..self.size()).filter(|other| *other != place);
        for (other, revision) in others.zip(last - 1..) {
            let request = Request::Compact(CompactionRequest { revision, physical: true });
            let mut client = self.client(other);
            self.pending.push(self.runtime.block_on(client.ask(request)));
        }
        // A leader keeps the entries that it is about to send, even those for an absent member:
        // another member has to lead.
        let leader = self.reign().leader;
        self.cluster.members[leader].stop();
        self.cluster.members[leader].spawn();
        self.finish_to_start(leader);
    }

    /// Pauses the leader until another member leads, then queues reads of keys that have changed
    /// meanwhile. A resumed leader must not answer them from its old state.
    fn pause_leader(&mut self, leader: usize, load: &mut Load) {
        // These connect before the pause: over a new connection, the leader would first learn of
        // its successor.
        let clients: Vec<Client> = (0..PINNED).map(|_| self.connected(leader)).collect();
        self.pause(leader);
        self.last();
        self.await_another(leader);
        for client in clients {
            let key = shared_key(self.rng.random_range(0..SHARED_KEYS));
            let get = Request::Range(RangeRequest { key, ..Default::default() });
            load.ask(self.runtime.handle(), client, get);
            self.sleep_between(Duration::ZERO, PINNED_PAUSE_MAX);
        }
    }

    fn connected(&mut self, place: usize) -> Client {
        let mut client = self.client(place);
        self.pending.push(self.runtime.block_on(client.ask(Request::Status)));
        client
    }

    fn pause_for(&mut self, place: usize, (least, most): (Duration, Duration)) {
        self.pause(place);
        self.sleep_between(least, most);
        self.resume_paused();
    }

    fn disturb(&mut self, fault: ClusterFault, leader: usize, other: usize) {
        let net = self.cluster.net();
        match fault {
            ClusterFault::IsolateLeader | ClusterFault::IsolateOther => {
                let alone = if fault == ClusterFault::IsolateLeader { leader } else { other };
                self.isolate(alone);
                if fault == ClusterFault::IsolateLeader {
                    self.await_another(alone);
                }
            }
            ClusterFault::Scatter => net.split(&[]),
            ClusterFault::MuteLeader => {
                self.but(leader).for_each(|to| net.drop_one_way(machine(leader), to));
            }
            ClusterFault::DeafenLeader => {
                self.but(leader).for_each(|from| net.drop_one_way(from, machine(leader)));
            }
            ClusterFault::Ring => {
                for place in 0..self.size() {
                    net.drop_one_way(machine(place), machine((place + 1) % self.size()));
                }
            }
            ClusterFault::BridgeLeader => {
                let far: Vec<usize> =
                    self.but(leader).filter(|far| *far != machine(other)).collect();
                let cut = |one, another| {
                    net.drop_one_way(one, another);
                    net.drop_one_way(another, one);
                };
                far.iter().for_each(|far| cut(machine(leader), *far));
                // The others have a majority only with the one that still hears the leader.
                let (alone, rest) = far.split_first().expect("there are five members");
                rest.iter().chain([&machine(other)]).for_each(|one| cut(*alone, *one));
                self.await_another(leader);
            }
            ClusterFault::LosePackets => {
                let share = self.rng.random_range(0.05..0.4);
                (0..self.size()).for_each(|place| self.cluster.net().lose(machine(place), share));
            }
            _ => {
                let one = if self.rng.random() { leader } else { other };
                self.flap(one);
            }
        }
        self.last();
        self.effect.hindered += self.cluster.net().lost();
        self.cluster.net().heal();
    }

    /// The machines of all members but one.
    fn but(&self, place: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.size()).filter(move |other| *other != place).map(machine)
    }

    fn isolate(&self, place: usize) {
        let together: Vec<usize> = self.but(place).collect();
        self.cluster.net().split(&[&together, &[machine(place)]]);
    }

    /// Closes the peer port of a member, and kills so many others that the rest has no majority
    /// without it.
    fn close_port(&mut self, place: usize) {
        self.cluster.net().close_port(machine(place));
        let (size, turn) = (self.size(), self.rng.random_range(1..self.size()));
        let others = (0..size - 1).map(|n| (place + 1 + (turn + n) % (size - 1)) % size);
        others.take(size / 2).for_each(|other| self.kill(other));
        // Entries committed before are applied by then.
        thread::sleep(ELECTION / 2);
        let applied = || Some(self.status(place)?.raft_applied_index);
        let before = applied().unwrap_or_default();
        wait::until("writes that need a member whose port is closed", NOTICE_WITHIN, || {
            applied().is_some_and(|now| now > before).then_some(())
        });
        self.last();
        self.effect.hindered += self.cluster.net().lost();
        self.cluster.net().heal();
    }

    /// Isolates a member several times, briefly.
    fn flap(&mut self, place: usize) {
        for _ in 0..self.rng.random_range(2..5) {
            self.isolate(place);
            self.sleep_between(ELECTION / 5, ELECTION * 6 / 5);
            self.cluster.net().heal();
            self.sleep_between(ELECTION / 10, ELECTION * 3 / 5);
        }
    }

    /// Removes a member, whose process must end by itself, and adds a new one in its place.
    fn replace(&mut self, place: usize) {
        let by = (place + 1) % self.size();
        self.cluster.remove(by, place);
        self.cluster.members[place].wait_for_end();
        self.effect.ended += 1;
        let data_dir = self.cluster.members[place].data_dir();
        fs::remove_dir_all(data_dir).expect("the folder is ours");
        self.cluster.add_again(by, place);
        self.numbers[place] = self.numbers.iter().max().expect("there are members") + 1;
        self.publish();
    }

    fn cut_power(&mut self, places: &[usize]) {
        for place in places {
            self.disks[*place].cut_power(&mut self.rng);
        }
        for place in places {
            // The member may already have noticed that its disk is gone.
            self.cluster.members[*place].kill();
            self.effect.kills += 1;
        }
        if self.rng.random() {
            self.last();
        }
    }

    /// Fills the disk of a member, which must raise an alarm and keep running. When there is space
    /// again and the alarm is cleared, all must continue.
    fn fill_disk(&mut self, place: usize) {
        let filler = self.disks[place].fill();
        let other = (place + 1) % self.size();
        wait::until("the alarm of a full disk", NOTICE_WITHIN, || {
            self.alarms(other).filter(|alarms| !alarms.is_empty())
        });
        self.effect.hindered += 1;
        let mut load = Load::new(&self.clock);
        for _ in 0..FILLING {
            let rng = StdRng::seed_from_u64(self.rng.random());
            let roamer = self.roamer(other);
            load.add_roaming(self.runtime.handle(), roamer, Traffic::new(rng), BULK);
        }
        let (written, _) = self.runtime.block_on(load.run());
        self.pending.extend(written);
        let ended = self.cluster.members[place].exit_status();
        assert_eq!(ended, None, "{}", self.cluster.members[place].log_tail());
        fs::remove_file(filler).expect("it was made");
        // A member that has not checked its disk since raises the alarm once more.
        let mut clear_since = None;
        wait::until("no alarm of a full disk", NOTICE_WITHIN, || {
            let alarms = self.alarms(other)?;
            if !alarms.is_empty() {
                alarms.iter().for_each(|alarm| self.clear(other, *alarm));
                clear_since = None;
            }
            (clear_since.get_or_insert_with(Instant::now).elapsed() > ELECTION).then_some(())
        });
    }

    /// The alarms that the member in a place lists.
    fn alarms(&self, place: usize) -> Option<Vec<AlarmMember>> {
        self.ask_alarm(place, AlarmRequest::default())
    }

    fn clear(&self, place: usize, AlarmMember { member_id, alarm }: AlarmMember) {
        let action = AlarmAction::Deactivate as i32;
        self.ask_alarm(place, AlarmRequest { action, member_id, alarm });
    }

    fn ask_alarm(&self, place: usize, request: AlarmRequest) -> Option<Vec<AlarmMember>> {
        let url = self.cluster.members[place].url();
        self.runtime.block_on(async {
            let mut client = MaintenanceClient::new(channel(&url));
            let asked = tokio::time::timeout(NOTICE_WITHIN, client.alarm(request));
            Some(asked.await.ok()?.ok()?.into_inner().alarms)
        })
    }

    /// Freezes the disk of the leader until another member leads.
    fn hang_disk(&mut self, leader: usize) {
        let hanging = self.disks[leader].hang();
        self.await_another(leader);
        drop(hanging);
    }

    /// Waits until a member other than `leader` leads.
    fn await_another(&self, leader: usize) {
        wait::until("another leader", NOTICE_WITHIN, || {
            let now = self.reign_now()?;
            (now.leader != leader).then_some(())
        });
    }

    fn distort(&mut self, fault: ClusterFault, one: usize) {
        let proxies = self.cluster.proxies();
        let before = proxies.affected();
        match fault {
            ClusterFault::Delay => {
                let mode = ProxyMode::Delay(Duration::from_millis(25), Duration::from_millis(125));
                (0..self.size()).for_each(|place| proxies.set(place, mode));
            }
            ClusterFault::Mutilate => {
                (0..self.size()).for_each(|place| proxies.set(place, ProxyMode::Lose(0.5)));
            }
            _ => proxies.set(one, ProxyMode::Hold),
        }
        self.last();
        let proxies = self.cluster.proxies();
        (0..self.size()).for_each(|place| proxies.set(place, ProxyMode::Pass));
        self.effect.hindered += proxies.affected() - before;
    }

    fn change_clocks(&mut self, fault: ClusterFault, one: usize) {
        let changed: Vec<usize> = match fault {
            ClusterFault::JumpClock => vec![one],
            _ => (0..self.size()).collect(),
        };
        let before = self.wrong_times(&changed);
        let times = if changed.len() > 1 { 4 } else { 1 };
        for _ in 0..times {
            for place in &changed {
                let most = if self.rng.random() { 3_600 } else { TEN_YEARS };
                let offset = self.rng.random_range(-most..=most);
                self.clocks[*place].set(offset);
            }
            // A process reads its clock file once a second.
            thread::sleep(ELECTION * 3 / 2);
        }
        // Restarts a member on another day, so that its log shows a wrong date.
        let offset = self.rng.random_range(2 * DAY..=TEN_YEARS);
        self.clocks[one].set(if self.rng.random() { offset } else { -offset });
        self.kill(one);
        self.cluster.members[one].spawn();
        let wrong = wait::within(NOTICE_WITHIN, || {
            let new = self.wrong_times(&changed) - before;
            (new > 0).then_some(new)
        });
        self.effect.wrong_times += wrong.unwrap_or(0);
        self.clocks.iter().for_each(|clock| clock.set(0));
    }
}

/// The machine of the member in a place.
fn machine(place: usize) -> usize {
    place + 1
}
