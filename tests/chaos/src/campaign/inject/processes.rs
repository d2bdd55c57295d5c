//! Processes that are killed, paused or replaced.

use std::fs;
use std::time::Duration;

use quorate_proto::etcdserverpb::RangeRequest;
use quorate_test_support::wait;
use rand::Rng;

use super::NOTICE_WITHIN;
use crate::campaign::Campaign;
use crate::history::Request;
use crate::workload::client::Client;
use crate::workload::load::Load;
use crate::workload::traffic::{SHARED_KEYS, shared_key};

/// The number of clients that ask a paused leader, and the longest time between the requests of two
/// of these clients.
const READERS: usize = 16;
const READER_PAUSE_MAX: Duration = Duration::from_millis(40);
/// How many starts in a row are interrupted at most.
const INTERRUPTIONS_MAX: u32 = 3;

impl Campaign {
    pub(super) fn kill_for_a_while(&mut self, places: &[usize]) {
        for place in places {
            self.kill(*place);
        }
        // Sometimes the members are back before the other members notice.
        if self.rng.random() {
            self.sleep_in_fault();
        }
    }

    pub(super) fn kill_twice(&mut self, leader: usize) {
        self.kill(leader);
        if self.size() == 1 {
            self.start_all();
        }
        let next = wait::until("a new leader", NOTICE_WITHIN, || self.leadership_now()).leader;
        self.kill(next);
    }

    /// Starts a member several times, and interrupts each start.
    pub(super) fn interrupt_starts(&mut self, place: usize) {
        for _ in 0..self.rng.random_range(1..=INTERRUPTIONS_MAX) {
            self.interrupt_start(place);
        }
    }

    /// Pauses the leader and waits until another member leads. Then, while the old leader is still
    /// paused, queues reads of random keys at it. Many of these keys have changed meanwhile. A
    /// correct leader, once it is resumed, answers none of these reads from its old state.
    pub(super) fn pause_leader(&mut self, leader: usize, load: &mut Load) {
        // These clients connect before the pause: over a new connection, the leader would learn of
        // its successor before the reads arrive.
        let clients: Vec<Client> = (0..READERS).map(|_| self.connected_client(leader)).collect();
        self.pause(leader);
        self.sleep_in_fault();
        self.await_another(leader);
        for client in clients {
            let key = shared_key(self.rng.random_range(0..SHARED_KEYS));
            let get = Request::Range(RangeRequest { key, ..Default::default() });
            load.ask(self.runtime.handle(), client, get);
            self.sleep_between(Duration::ZERO, READER_PAUSE_MAX);
        }
    }

    fn connected_client(&mut self, place: usize) -> Client {
        let mut client = self.client(place);
        self.pending.push(self.runtime.block_on(client.ask(Request::Status)));
        client
    }

    pub(super) fn pause_for(&mut self, place: usize, (least, most): (Duration, Duration)) {
        self.pause(place);
        self.sleep_between(least, most);
        self.resume_paused();
    }

    /// Removes a member, waits until its process ends by itself, and adds a new member in its
    /// place.
    pub(super) fn replace_member(&mut self, place: usize) {
        let by = (place + 1) % self.size();
        self.cluster.remove(by, place);
        self.cluster.members[place].wait_for_end();
        self.effect.ended += 1;
        let data_dir = self.cluster.members[place].data_dir();
        fs::remove_dir_all(data_dir).expect("the folder is ours");
        self.cluster.add_again(by, place);
        let number = self.numbers.iter().max().expect("there are members") + 1;
        self.endpoints.remove(self.numbers[place]);
        self.endpoints.insert(number, &self.cluster.members[place].url());
        self.numbers[place] = number;
    }
}
