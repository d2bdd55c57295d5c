//! Power cuts that drop all unsynced data lose no acknowledged write and never decrease a revision.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use quorate_test_chaos::campaign::Campaign;
use quorate_test_chaos::fault::Deck;
use quorate_test_chaos::fault::disk::{self, Disk};
use quorate_test_chaos::seed::{Seed, number_from_env};
use quorate_test_support::{program, require};

/// The variable with the number of rounds.
const ROUNDS: &str = "QUORATE_CHAOS_POWER";
/// The number of new members, one after the other.
const FOUNDED: u64 = 5;

#[test]
fn power_losses_lose_nothing() {
    if !require::met("power losses", &disk::NEEDS) {
        return;
    }
    let rounds = number_from_env(ROUNDS).unwrap_or(20);
    let seed = Seed::choose();
    eprintln!("again: {}", seed.replay(["power", "power_losses_lose_nothing"], ROUNDS, rounds));
    let mut campaign = Campaign::on_disk(&program::quorate(), Disk::new(), "data", seed);
    campaign.run(Deck::of_power_losses(seed.rng(u64::MAX)).take(usize::try_from(rounds).unwrap()));
    eprintln!("{:?}: {}", campaign.faults(), campaign.tally());
}

#[test]
fn power_losses_of_new_members_lose_nothing() {
    if !require::met("power losses of new members", &disk::NEEDS) {
        return;
    }
    let seed = Seed::choose();
    eprintln!(
        "again: {}",
        seed.replay(["power", "power_losses_of_new_members_lose_nothing"], ROUNDS, 1)
    );
    let mut disk = Disk::new();
    for number in 0..FOUNDED {
        let seed = seed.derive(number);
        let folder = format!("data{number}");
        let mut campaign = Campaign::on_disk(&program::quorate(), disk, &folder, seed);
        campaign.run(Deck::of_power_losses(seed.rng(u64::MAX)).take(1));
        disk = campaign.into_disk().unwrap();
    }
}
