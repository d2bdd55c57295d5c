//! Clocks that jump.

use std::thread;

use quorate_test_support::wait;
use rand::Rng;

use super::{ELECTION, NOTICE_WITHIN};
use crate::campaign::Campaign;
use crate::fault::Fault;

/// Seconds in a day.
const DAY: i64 = 86_400;
/// Seconds in ten years.
const TEN_YEARS: i64 = 10 * 365 * DAY;

impl Campaign {
    pub(super) fn change_clocks(&mut self, fault: Fault, one: usize) {
        let changed: Vec<usize> = match fault {
            Fault::JumpClock => vec![one],
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
