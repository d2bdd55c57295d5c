//! A cluster that grows, shrinks, or has its members restarted or replaced one by one under load
//! loses nothing and keeps writing.

use std::time::Duration;

use quorate_test_chaos::live::availability::Availability;
use quorate_test_chaos::live::{AddAs, LiveCluster};
use quorate_test_chaos::seed::{Seed, is_measured, number_from_env};
use quorate_test_support::program;

/// The variable with the number of clusters per test.
const ROLLS: &str = "QUORATE_CHAOS_ROLLS";
/// The longest gap between writes on a busy machine.
const STALL_MAX: Duration = Duration::from_secs(10);
/// The longest gap between writes when times are measured.
const MEASURED_STALL_MAX: Duration = Duration::from_secs(2);
/// Writes between one change and the next.
const WRITES: usize = 300;

/// The largest cluster.
const SIZE_MAX: usize = 9;

/// A series of changes to a cluster.
type Change = fn(&mut LiveCluster);

#[test]
fn a_cluster_grows_and_shrinks() {
    roll("a_cluster_grows_and_shrinks", 1, &[grow, shrink]);
}

#[test]
fn each_of_three_members_is_replaced() {
    roll("each_of_three_members_is_replaced", 3, &[replace]);
}

#[test]
fn each_of_three_members_is_restarted() {
    roll("each_of_three_members_is_restarted", 3, &[restart]);
}

/// Grows a cluster to nine members, as voters and as learners.
fn grow(live: &mut LiveCluster) {
    let ways = [AddAs::Voter, AddAs::Learner, AddAs::Learner, AddAs::Voter];
    for add_as in ways.into_iter().cycle().take(SIZE_MAX - 1) {
        live.add_member(add_as);
        live.await_writes(WRITES);
    }
}

/// Shrinks a cluster to one member. Alternately removes the leader, which hands over its
/// leadership, and another member.
fn shrink(live: &mut LiveCluster) {
    while live.places().len() > 1 {
        let leader = live.leader();
        let leads = live.places().len() % 2 == 1;
        let goes = live.places().into_iter().find(|place| (*place == leader) == leads);
        live.remove_member(goes.expect("one of several leads"));
        live.await_writes(WRITES);
    }
}

fn replace(live: &mut LiveCluster) {
    for place in live.places() {
        live.replace_member(place, AddAs::Learner);
        live.await_writes(WRITES);
    }
}

fn restart(live: &mut LiveCluster) {
    for place in live.places() {
        live.stop(place);
        live.restart(place);
        live.await_writes(WRITES);
    }
}

/// Applies `changes` to a cluster of `size` members under load, with a check of the history after
/// each.
fn roll(test: &str, size: usize, changes: &[Change]) {
    let rolls = number_from_env(ROLLS).unwrap_or(1);
    let stall_max = if is_measured() { MEASURED_STALL_MAX } else { STALL_MAX };
    let seed = Seed::choose();
    eprintln!("{test}, again: {}", seed.replay(["rolling", test], ROLLS, rolls));
    for number in 0..rolls {
        let mut live = LiveCluster::new(&program::quorate(), size, seed.derive(number));
        live.fill_log();
        for change in changes {
            live.start_clients();
            live.await_writes(WRITES);
            change(&mut live);
            let (since, operations, until) = live.stop_clients();
            let seen = Availability::of(&operations, since, until);
            eprintln!("{test}: {seen}");
            assert!(seen.stall < stall_max, "writes stalled for {:?}", seen.stall);
        }
        eprintln!("{test}: {}", live.tally());
    }
}
