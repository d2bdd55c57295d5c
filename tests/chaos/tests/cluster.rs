//! Faults of all kinds under load, on three members and on five: no acknowledged write is lost, no
//! read is stale, and no watch misses an event.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use quorate_test_chaos::campaign::cluster::ClusterCampaign;
use quorate_test_chaos::fault::cluster::{ClusterDeck, Ground};
use quorate_test_chaos::fault::{clock, disk, strain};
use quorate_test_chaos::seed::{Seed, is_measured, number_from_env, only_fault};
use quorate_test_support::net::Net;
use quorate_test_support::{program, require};

/// The variable with the number of faults on each ground.
const ROUNDS: &str = "QUORATE_CHAOS_CLUSTER";

fn survives(test: &str, ground: Ground, rounds: u64) {
    let rounds = number_from_env(ROUNDS).unwrap_or(rounds);
    let seed = Seed::choose();
    eprintln!("{ground:?}; again: {}", seed.replay(["cluster", test], ROUNDS, rounds));
    let mut campaign = ClusterCampaign::new(&program::quorate(), ground, seed);
    if is_measured() {
        campaign.measure_stalls();
    }
    let only = only_fault();
    let faults = ClusterDeck::new(ground, seed.rng(u64::MAX))
        .filter(|fault| only.as_ref().is_none_or(|only| format!("{fault:?}") == *only));
    campaign.run(faults.take(usize::try_from(rounds).unwrap()));
    eprintln!("{ground:?}: {}\n{}", campaign.tally(), campaign.effects());
    eprintln!("{ground:?}: {}", campaign.resources());
    let toothless = campaign.effects().toothless();
    assert!(toothless.is_empty(), "faults that did nothing: {toothless:?}");
}

#[test]
fn kills() {
    survives("kills", Ground::Processes, 14);
}

#[test]
fn partitions_and_pauses() {
    if Net::can_be_made("partitions") {
        survives("partitions_and_pauses", Ground::Network, 10);
    }
}

#[test]
fn distortions() {
    survives("distortions", Ground::Proxies, 3);
}

#[test]
fn power_losses_and_full_disks() {
    if require::met("power losses of clusters", &disk::NEEDS) {
        survives("power_losses_and_full_disks", Ground::Disks, 5);
    }
}

#[test]
fn clocks() {
    if require::met("clocks", &clock::NEEDS) {
        survives("clocks", Ground::Clocks, 2);
    }
}

#[test]
fn five_members() {
    if Net::can_be_made("faults of five members") {
        survives("five_members", Ground::FiveMachines, 3);
    }
}

#[test]
fn strains() {
    if require::met("strains", &strain::NEEDS) {
        survives("strains", Ground::Strains, 7);
    }
}
