//! A cluster that grows, is replaced member by member, and shrinks again under load loses nothing
//! and goes on writing.

use std::time::Duration;

use quorate_test_chaos::live::pace::Pace;
use quorate_test_chaos::live::{Entry, LiveCluster};
use quorate_test_chaos::seed::{Seed, number_from_env};
use quorate_test_support::program;

/// How many clusters are rolled; when it is said, times are measured.
const ROLLS: &str = "QUORATE_CHAOS_ROLLS";
/// Writes may not stall for longer, however busy the machine is.
const STALL_MAX: Duration = Duration::from_secs(10);
/// Writes may not stall for longer when times are measured.
const MEASURED_STALL_MAX: Duration = Duration::from_secs(2);
/// Writes between one change and the next.
const WRITES: usize = 300;

#[test]
fn a_cluster_grows_and_shrinks() {
    roll("a_cluster_grows_and_shrinks", 1, |live| {
        for entry in [Entry::Voter, Entry::Learner, Entry::Learner, Entry::Voter] {
            live.grow(entry);
            live.await_writes(WRITES);
        }
        // In turn the leader, which hands over, and another one.
        for number in 1.. {
            let leader = live.leader();
            let other = live.places().into_iter().find(|place| *place != leader);
            let Some(other) = other else { break };
            live.shrink(if number % 2 == 0 { other } else { leader });
            live.await_writes(WRITES);
        }
    });
}

#[test]
fn each_of_three_is_replaced() {
    roll("each_of_three_is_replaced", 3, |live| {
        for place in live.places() {
            live.replace(place, Entry::Learner);
            live.await_writes(WRITES);
        }
    });
}

/// Makes `changes` to a cluster of `size` members under load.
fn roll(test: &str, size: usize, changes: impl Fn(&mut LiveCluster)) {
    let asked = number_from_env(ROLLS);
    let (rolls, stall_max) = asked.map_or((1, STALL_MAX), |rolls| (rolls, MEASURED_STALL_MAX));
    let seed = Seed::choose();
    eprintln!("{test}, again: {}", seed.replay("rolling", ROLLS, rolls));
    for number in 0..rolls {
        let mut live = LiveCluster::new(&program::quorate(), size, seed.derive(number));
        live.begin();
        live.await_writes(WRITES);
        changes(&mut live);
        let (since, operations, until) = live.end();
        let pace = Pace::of(&operations, since, until);
        eprintln!("{test}: {pace}\n{}", live.tally());
        assert!(pace.stall < stall_max, "writes stalled for {:?}", pace.stall);
    }
}
