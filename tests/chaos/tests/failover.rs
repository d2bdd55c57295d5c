//! After a SIGKILL to the leader, writes continue soon, and no acknowledged write is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use quorate_test_chaos::live::LiveCluster;
use quorate_test_chaos::live::availability::{Availability, first_write_after, percentile};
use quorate_test_chaos::seed::{Seed, number_from_env};
use quorate_test_support::program;

/// The variable with the number of killed leaders.
const KILLS: &str = "QUORATE_CHAOS_FAILOVERS";
/// From this number on, the times are measured.
const CAMPAIGN: u64 = 100;
/// The longest request, and the longest gap between writes, on a busy machine.
const STUCK: Duration = Duration::from_secs(10);
/// In a campaign, the first write after the kill must come within this time for 99 of 100 leaders.
const FAILOVER_P99: Duration = Duration::from_secs(2);
/// Writes before and after each kill.
const WRITES: usize = 100;

#[test]
fn writes_continue_after_the_leader_is_killed() {
    let kills = number_from_env(KILLS).unwrap_or(10);
    let seed = Seed::choose();
    eprintln!(
        "again: {}",
        seed.replay(["failover", "writes_continue_after_the_leader_is_killed"], KILLS, kills)
    );
    let mut live = LiveCluster::new(&program::quorate(), 3, seed);
    let mut firsts = Vec::new();
    let mut slowest = Vec::new();
    let mut stalls = Vec::new();
    for kill in 1..=kills {
        live.start_clients();
        live.await_writes(WRITES);
        let (place, killed) = live.kill_leader();
        live.await_writes(WRITES);
        live.restart(place);
        live.await_writes(WRITES);
        let (since, operations, until) = live.stop_clients();
        let seen = Availability::of(&operations, since, until);
        let first = first_write_after(&operations, killed).unwrap();
        eprintln!("kill {kill}: first write after {} ms; {seen}", first.as_millis());
        firsts.push(first);
        slowest.push(seen.slowest);
        stalls.push(seen.stall);
    }
    firsts.sort_unstable();
    slowest.sort_unstable();
    stalls.sort_unstable();
    let all = [("first write", firsts), ("slowest request", slowest), ("no write", stalls)];
    for (what, sorted) in &all {
        let [p50, p99, max] = [50, 99, 100].map(|percent| percentile(sorted, percent).as_millis());
        eprintln!("{what}: p50 {p50} ms, p99 {p99} ms, max {max} ms");
        assert!(percentile(sorted, 100) < STUCK, "{what}: {max} ms");
    }
    eprintln!("{}", live.tally());
    let p99 = percentile(&all[0].1, 99);
    assert!(kills < CAMPAIGN || p99 <= FAILOVER_P99, "the first write came after {p99:?}");
}
