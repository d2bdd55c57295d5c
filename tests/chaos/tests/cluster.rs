//! Faults of all kinds under load, on three members and on five: no acknowledged write is lost, no
//! read is stale, and no watch misses an event.

use quorate_test_chaos::campaign;
use quorate_test_chaos::fault::environment::Environment;

/// The variable that sets the number of faults in each kind of environment.
const ROUNDS: &str = "QUORATE_CHAOS_CLUSTER";

fn survive(test: &str, environment: Environment, rounds: u64) {
    campaign::survive(environment, ["cluster", test], ROUNDS, rounds);
}

#[test]
fn kills_lose_nothing() {
    survive("kills_lose_nothing", Environment::Processes, 14);
}

#[test]
fn partitions_and_pauses_lose_nothing() {
    survive("partitions_and_pauses_lose_nothing", Environment::Network, 10);
}

#[test]
fn distorted_traffic_loses_nothing() {
    survive("distorted_traffic_loses_nothing", Environment::Proxies, 3);
}

#[test]
fn power_losses_and_full_disks_lose_nothing() {
    survive("power_losses_and_full_disks_lose_nothing", Environment::Disks, 5);
}

#[test]
fn jumping_clocks_lose_nothing() {
    survive("jumping_clocks_lose_nothing", Environment::Clocks, 2);
}

#[test]
fn five_members_lose_nothing() {
    survive("five_members_lose_nothing", Environment::FiveMachines, 3);
}

#[test]
fn overloads_lose_nothing() {
    survive("overloads_lose_nothing", Environment::Overload, 7);
}
