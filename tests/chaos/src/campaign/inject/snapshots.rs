//! Members that fall so far behind that they need a snapshot.

use std::fs;

use quorate_proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use quorate_test_support::wait;

use super::NOTICE_WITHIN;
use crate::campaign::Campaign;
use crate::history::Request;
use crate::workload::load::Load;
use crate::workload::traffic::{FLOOD, Traffic};

/// Entries to write: more than the log keeps for members that lag behind.
const ENTRIES: usize = 6_800;
/// The clients that write them.
const WRITERS: usize = 48;
/// Attempts to kill a member while it receives a snapshot.
const RECEIVING_TRIES: usize = 3;
/// Attempts to make another member the leader.
const RESIGN_TRIES: usize = 5;
/// The extension of database files.
const DATABASE: &str = "redb";

impl Campaign {
    /// Kills a member while it receives a snapshot.
    pub(super) fn kill_receiving_snapshot(&mut self, place: usize) {
        for _ in 0..RECEIVING_TRIES {
            self.fall_behind(place);
            self.cluster.members[place].spawn();
            wait::within(NOTICE_WITHIN, || self.receives(place).then_some(()));
            self.kill(place);
            if self.receives(place) {
                self.effect.interrupted += 1;
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

    /// Leaves a member behind by more than the log of its leader keeps.
    pub(super) fn fall_behind(&mut self, place: usize) {
        self.kill(place);
        self.flood_without(place);
        self.forget_without(place);
    }

    /// The same for a running member, which is cut off from the others. Meanwhile a compaction
    /// removes the events that its watches have not received.
    pub(super) fn fall_behind_running(&mut self, place: usize) {
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
        let member = self.numbers[place];
        let url = self.cluster.members[place].url();
        watcher.resume(self.runtime.handle(), member, &url);
        wait::until("a watch that keeps up", NOTICE_WITHIN, || {
            (watcher.seen() > proven).then_some(())
        });
        self.watches.add(watcher, member);
    }

    /// Writes through the other members more entries than the log keeps for an absent member.
    fn flood_without(&mut self, place: usize) {
        let mut load = Load::default();
        for number in 0..WRITERS {
            let rng = self.client_rng();
            let client = self.failover_client((place + 1 + number % 2) % self.size());
            let profile = FLOOD.up_to(ENTRIES / WRITERS + 1);
            load.add(self.runtime.handle(), client, Traffic::new(rng), profile);
        }
        let (flooded, _) = self.runtime.block_on(load.run());
        self.pending.extend(flooded);
    }

    /// Compacts the history and truncates the logs of all members but one.
    fn forget_without(&mut self, place: usize) {
        // Physical compaction flushes everything to the database first; the log then drops it.
        let last = self.known_revision();
        let others = (0..self.size()).filter(|other| *other != place);
        for (other, revision) in others.zip(last - 1..) {
            let request = Request::Compact(CompactionRequest { revision, physical: true });
            let mut client = self.client(other);
            self.pending.push(self.runtime.block_on(client.ask(request)));
        }
        // A leader keeps the entries that it is about to send, even those for an absent member:
        // another member has to lead. On a busy machine, the stopped member may be elected again
        // as it starts, with all these entries.
        for _ in 0..RESIGN_TRIES {
            let leader = self.leadership().leader;
            self.stop(leader);
            self.cluster.members[leader].spawn();
            self.finish_start(leader);
            if self.leadership().leader != leader {
                return;
            }
        }
    }
}
