//! SIGKILL at random moments under load loses no acknowledged write and never decreases a revision.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use quorate_test_chaos::campaign::Campaign;
use quorate_test_chaos::fault::Deck;
use quorate_test_chaos::seed::{Seed, number_from_env};
use quorate_test_support::program;

/// The variable with the number of rounds.
const ROUNDS: &str = "QUORATE_CHAOS_KILLS";
/// The number of new members, one after the other.
const FOUNDED: u64 = 8;

#[test]
fn kills_lose_nothing() {
    let rounds = number_from_env(ROUNDS).unwrap_or(200);
    let seed = Seed::choose();
    eprintln!("again: {}", seed.replay(["kill", "kills_lose_nothing"], ROUNDS, rounds));
    let mut campaign = Campaign::new(&program::quorate(), seed);
    campaign.run(Deck::of_kills(seed.rng(u64::MAX)).take(usize::try_from(rounds).unwrap()));
    eprintln!("{:?}: {}", campaign.faults(), campaign.tally());
}

#[test]
fn kills_of_new_members_lose_nothing() {
    let seed = Seed::choose();
    eprintln!("again: {}", seed.replay(["kill", "kills_of_new_members_lose_nothing"], ROUNDS, 1));
    for number in 0..FOUNDED {
        let seed = seed.derive(number);
        let mut campaign = Campaign::new(&program::quorate(), seed);
        campaign.run(Deck::of_kills(seed.rng(u64::MAX)).take(1));
    }
}
