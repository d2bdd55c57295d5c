//! Power cuts that drop all unsynced data lose no acknowledged write and never decrease a revision.

use quorate_test_chaos::campaign::{survive, survive_first_starts};
use quorate_test_chaos::fault::environment::Environment;

/// The variable with the number of rounds.
const ROUNDS: &str = "QUORATE_CHAOS_POWER";

#[test]
fn power_losses_lose_nothing() {
    survive(Environment::OneDisk, ["power", "power_losses_lose_nothing"], ROUNDS, 20);
}

#[test]
fn power_losses_of_new_members_lose_nothing() {
    let test = ["power", "power_losses_of_new_members_lose_nothing"];
    survive_first_starts(Environment::OneDisk, test, ROUNDS, 5);
}
