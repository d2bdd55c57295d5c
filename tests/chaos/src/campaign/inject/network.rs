//! Faults of the network between members.

use std::thread;
use std::time::Duration;

use quorate_test_support::proxy::ProxyMode;
use quorate_test_support::wait;
use rand::Rng;

use super::{ELECTION, NOTICE_WITHIN};
use crate::campaign::Campaign;
use crate::fault::Fault;

impl Campaign {
    pub(super) fn disturb_network(&mut self, fault: Fault, leader: usize, follower: usize) {
        let net = self.cluster.net();
        match fault {
            Fault::IsolateLeader | Fault::IsolateFollower => {
                let alone = if fault == Fault::IsolateLeader { leader } else { follower };
                self.isolate(alone);
                if fault == Fault::IsolateLeader {
                    self.await_another(alone);
                }
            }
            Fault::IsolateAll => net.split(&[]),
            Fault::DropFromLeader => {
                self.machines_but(leader).for_each(|to| net.drop_one_way(machine(leader), to));
            }
            Fault::DropToLeader => {
                self.machines_but(leader).for_each(|from| net.drop_one_way(from, machine(leader)));
            }
            Fault::OneWayRing => {
                for place in 0..self.size() {
                    net.drop_one_way(machine(place), machine((place + 1) % self.size()));
                }
            }
            Fault::Bridge => {
                let far: Vec<usize> =
                    self.machines_but(leader).filter(|far| *far != machine(follower)).collect();
                let cut = |one, another| {
                    net.drop_one_way(one, another);
                    net.drop_one_way(another, one);
                };
                far.iter().for_each(|far| cut(machine(leader), *far));
                // The others have a majority only with the one that still hears the leader.
                let (alone, rest) = far.split_first().expect("there are five members");
                rest.iter().chain([&machine(follower)]).for_each(|one| cut(*alone, *one));
                self.await_another(leader);
            }
            Fault::LosePackets => {
                let share = self.rng.random_range(0.05..0.4);
                (0..self.size()).for_each(|place| self.cluster.net().lose(machine(place), share));
            }
            _ => {
                let one = if self.rng.random() { leader } else { follower };
                self.flap(one);
            }
        }
        self.sleep_in_fault();
        self.effect.affected += self.cluster.net().lost();
        self.cluster.net().heal();
    }

    /// The machines of all members but one.
    fn machines_but(&self, place: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.size()).filter(move |other| *other != place).map(machine)
    }

    pub(super) fn isolate(&self, place: usize) {
        let together: Vec<usize> = self.machines_but(place).collect();
        self.cluster.net().split(&[&together, &[machine(place)]]);
    }

    /// Closes the peer port of a member, and kills so many others that the rest has no majority
    /// without it.
    pub(super) fn close_peer_port(&mut self, place: usize) {
        self.cluster.net().close_port(machine(place));
        let size = self.size();
        let turn = self.rng.random_range(1..self.size());
        let others = (0..size - 1).map(|n| (place + 1 + (turn + n) % (size - 1)) % size);
        others.take(size / 2).for_each(|other| self.kill(other));
        // Entries committed before are applied by then.
        thread::sleep(ELECTION / 2);
        let applied = || Some(self.status(place)?.raft_applied_index);
        let before = applied().unwrap_or_default();
        wait::until("writes that need a member whose port is closed", NOTICE_WITHIN, || {
            applied().is_some_and(|now| now > before).then_some(())
        });
        self.sleep_in_fault();
        self.effect.affected += self.cluster.net().lost();
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

    pub(super) fn distort_traffic(&mut self, fault: Fault, one: usize) {
        let proxies = self.cluster.proxies();
        let before = proxies.affected();
        match fault {
            Fault::DelayTraffic => {
                let mode = ProxyMode::Delay(Duration::from_millis(25), Duration::from_millis(125));
                (0..self.size()).for_each(|place| proxies.set(place, mode));
            }
            Fault::CorruptTraffic => {
                (0..self.size()).for_each(|place| proxies.set(place, ProxyMode::Lose(0.5)));
            }
            _ => proxies.set(one, ProxyMode::Hold),
        }
        self.sleep_in_fault();
        let proxies = self.cluster.proxies();
        (0..self.size()).for_each(|place| proxies.set(place, ProxyMode::Pass));
        self.effect.affected += proxies.affected() - before;
    }
}

/// The machine of the member in a place.
fn machine(place: usize) -> usize {
    place + 1
}
